//! Packets of the model: any, and those that a plain dialect can say.

use crate::values::{dictionary, text};
use bytes::Bytes;
use candor_protocol::codec::dictionary::Dictionary;
use candor_protocol::dialect::Dialect;
use candor_protocol::packet::legality::ReasonPart;
use candor_protocol::packet::subscribe::RequestedFilter;
use candor_protocol::packet::topic::InvalidTopic;
use candor_protocol::packet::{
    Ack, ConnAck, Connect, Disconnect, Kind, Message, Notice, Packet, PacketId, Ping, Publish, Qos, Reason, SubAck, Subscribe,
    SubscribeItem, TopicFilter, TopicName, UnsubAck, Unsubscribe, Will,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

/// What a strategy draws on: in the plain dialects there is no dictionary, and few reasons.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Speech(pub(crate) Dialect);

impl Speech {
    /// Any packet that this dialect says in a frame, with nothing in it that the frame leaves out.
    pub(crate) fn packet(self) -> BoxedStrategy<Packet> {
        let kinds: Vec<Kind> = Kind::ALL.into_iter().filter(|kind| *kind != Kind::Notice || self.0.is_extended()).collect();
        select(kinds).prop_flat_map(move |kind| self.packet_of(kind)).boxed()
    }

    pub(crate) fn packet_of(self, kind: Kind) -> BoxedStrategy<Packet> {
        let dictionary = self.dictionary();
        match kind {
            Kind::Connect => self.connect().prop_map(|connect| Packet::Connect(Box::new(connect))).boxed(),
            Kind::ConnAck => (any::<bool>(), self.reason(kind), dictionary)
                .prop_map(move |(present, reason, dictionary)| {
                    let session_present = present && !reason.is_error() && self.0.tells_session_present();
                    Packet::ConnAck(Box::new(ConnAck { session_present, reason, dictionary }))
                })
                .boxed(),
            Kind::Publish => self.publish().prop_map(Packet::Publish).boxed(),
            Kind::PubAck => self.ack(kind).prop_map(Packet::PubAck).boxed(),
            Kind::PubRec => self.ack(kind).prop_map(Packet::PubRec).boxed(),
            Kind::PubRel => self.ack(kind).prop_map(Packet::PubRel).boxed(),
            Kind::PubComp => self.ack(kind).prop_map(Packet::PubComp).boxed(),
            Kind::Subscribe => {
                let item = (self.filter(), qos()).prop_map(|(filter, qos)| SubscribeItem { filter, qos });
                (packet_id(), vec(item, 1..5), dictionary)
                    .prop_map(|(id, items, dictionary)| Packet::Subscribe(Box::new(Subscribe { id, items, dictionary })))
                    .boxed()
            }
            Kind::SubAck => (packet_id(), vec(self.reason(kind), 0..5), dictionary)
                .prop_map(|(id, reasons, dictionary)| Packet::SubAck(Box::new(SubAck { id, reasons, dictionary })))
                .boxed(),
            Kind::Unsubscribe => (packet_id(), vec(self.filter(), 1..5), dictionary)
                .prop_map(|(id, filters, dictionary)| Packet::Unsubscribe(Box::new(Unsubscribe { id, filters, dictionary })))
                .boxed(),
            Kind::UnsubAck => self.unsuback().prop_map(|unsuback| Packet::UnsubAck(Box::new(unsuback))).boxed(),
            Kind::PingReq => dictionary.prop_map(|dictionary| Packet::PingReq(Ping { dictionary })).boxed(),
            Kind::PingResp => dictionary.prop_map(|dictionary| Packet::PingResp(Ping { dictionary })).boxed(),
            Kind::Disconnect => (self.reason(kind), dictionary)
                .prop_map(|(reason, dictionary)| Packet::Disconnect(Disconnect { reason, dictionary }))
                .boxed(),
            Kind::Notice => {
                (self.reason(kind), dictionary).prop_map(|(reason, dictionary)| Packet::Notice(Notice { reason, dictionary })).boxed()
            }
        }
    }

    fn dictionary(self) -> BoxedStrategy<Dictionary> {
        if self.0.is_extended() { dictionary().boxed() } else { Just(Dictionary::EMPTY).boxed() }
    }

    /// A reason that the packet may carry and this dialect can say.
    fn reason(self, kind: Kind) -> BoxedStrategy<Reason> {
        let says = move |code: &u8| match (self.0, kind) {
            (Dialect::Extended, _) => Reason(*code).allowed_in(kind),
            (_, Kind::ConnAck) => matches!(code, 0x00 | 0x84..=0x88),
            (Dialect::V31, Kind::SubAck) => *code <= 2,
            (Dialect::V311, Kind::SubAck) => matches!(code, 0..=2 | 0x80),
            _ => *code == 0,
        };
        let codes: Vec<u8> = (0..=0xFF).filter(says).collect();
        assert!(kind.parts().reason != ReasonPart::None && !codes.is_empty(), "{kind} has no reason");
        select(codes).prop_map(Reason).boxed()
    }

    fn ack(self, kind: Kind) -> impl Strategy<Value = Ack> {
        (packet_id(), self.reason(kind), self.dictionary()).prop_map(|(id, reason, dictionary)| Ack { id, reason, dictionary })
    }

    /// In the extended dialect a filter may break section 4.7; a bad shared subscription is carried on in every dialect.
    fn filter(self) -> BoxedStrategy<RequestedFilter> {
        let bad = if self.0.is_extended() {
            vec(select(&["a", "/", "+", "#", "$share/", "λ"][..]), 0..6).prop_map(|parts| parts.concat()).boxed()
        } else {
            select(&["$share", "$share/g", "$share//a", "$share/+/a"][..]).prop_map(str::to_owned).boxed()
        };
        let requested = |text: String| TopicFilter::new(&text).map_err(|error| (text, error));
        let good = topic_filter().prop_map(Ok);
        prop_oneof![3 => good, 1 => bad.prop_map(requested)].boxed()
    }

    fn message(self) -> impl Strategy<Value = Message> {
        (topic_name(), self.dictionary(), payload()).prop_map(|(topic, map, payload)| Message::new(&topic, &map, &payload))
    }

    pub(crate) fn publish(self) -> impl Strategy<Value = Publish> {
        let flags = (qos(), any::<bool>(), any::<bool>());
        (self.message(), flags, packet_id(), self.dictionary()).prop_map(|(message, (qos, retain, dup), id, hop)| {
            let id = (qos != Qos::AtMostOnce).then_some(id);
            Publish { dup: dup && id.is_some(), ..Publish::new(message, qos, retain, id, &hop) }
        })
    }

    fn connect(self) -> impl Strategy<Value = Connect> {
        let will = (self.message(), qos(), any::<bool>(), self.dictionary()).prop_map(|(message, qos, retain, dictionary)| Will {
            message,
            qos,
            retain,
            dictionary,
        });
        let login = option::of((plain_text(), option::of(payload())));
        (any::<bool>(), any::<u16>(), plain_text(), option::of(will), login, self.dictionary()).prop_map(
            move |(clean_session, keep_alive_s, client_id, will, login, dictionary)| {
                let (user_name, password) = login.map_or((None, None), |(user, password)| (Some(user), password.map(Bytes::from)));
                Connect { dialect: self.0, clean_session, keep_alive_s, client_id, will, user_name, password, dictionary }
            },
        )
    }

    fn unsuback(self) -> impl Strategy<Value = UnsubAck> {
        let (reasons, accept) = match self.0.is_extended() {
            true => (vec(self.reason(Kind::UnsubAck), 0..5).boxed(), Just(Bytes::new()).boxed()),
            false => (Just(vec![]).boxed(), payload().prop_map(Bytes::from).boxed()),
        };
        (packet_id(), reasons, self.dictionary(), accept).prop_map(|(id, reasons, dictionary, accept)| UnsubAck {
            id,
            reasons,
            dictionary,
            accept,
        })
    }
}

fn packet_id() -> impl Strategy<Value = PacketId> {
    prop_oneof![1u16..300, 1..=u16::MAX].prop_map(|id| PacketId::new(id).unwrap())
}

fn qos() -> impl Strategy<Value = Qos> {
    select(&Qos::ALL[..])
}

fn payload() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..200)
}

/// Text without U+0000, as a field of a packet may be.
fn plain_text() -> impl Strategy<Value = String> {
    text(20).prop_map(|text| text.replace('\0', ""))
}

fn topic_name() -> impl Strategy<Value = TopicName> {
    vec(plain_text().prop_map(|text| text.replace(['+', '#'], "")), 1..4)
        .prop_map(|levels| levels.join("/"))
        .prop_filter_map("a name has a character", |name| TopicName::new(name).ok())
}

fn topic_filter() -> impl Strategy<Value = TopicFilter> {
    let level = prop_oneof![plain_text().prop_map(|text| text.replace(['+', '#'], "")), Just("+".to_owned())];
    (option::of("[a-z]{1,4}"), vec(level, 0..4), any::<bool>()).prop_filter_map("a filter is not empty", |(group, mut levels, hash)| {
        levels.extend(hash.then(|| "#".to_owned()));
        let pattern = levels.join("/");
        let filter = TopicFilter::new(group.map_or(pattern.clone(), |group| format!("$share/{group}/{pattern}")));
        assert!(!matches!(filter, Err(InvalidTopic::MisplacedHash | InvalidTopic::MisplacedPlus)), "{filter:?}");
        filter.ok()
    })
}
