//! The packet model: every packet with a reason and a dictionary, whatever the dialect it travels in, and the tables
//! that say what it may hold.
//!
//! | table | where |
//! | --- | --- |
//! | packet types | [`kind`] |
//! | reasons | [`reason`] |
//! | keys of dictionaries | [`property`] |
//! | keys of a problem | [`problem`] |
//! | keys of a dead letter | [`dead_letter`] |
//! | clauses of a profile | [`profile`] |
//! | what a client may ask about its rights | [`question`] |
//! | what a publisher is told of its receivers | [`report`] |
//! | what topics of the server's own begin with | [`reserved`] |
//! | which packet carries which parts and keys | [`legality`] |

pub mod ack;
pub mod connect;
pub mod dead_letter;
pub mod disclosure;
pub mod id;
pub mod kind;
pub mod legality;
pub mod message;
pub mod problem;
pub mod profile;
pub mod property;
pub mod publish;
pub mod question;
pub mod reason;
pub mod report;
pub mod reserved;
pub mod subscribe;
pub mod topic;

pub use ack::{Ack, Disconnect, Notice, Ping};
pub use connect::{ConnAck, Connect, Will};
pub use dead_letter::DeadLetter;
pub use disclosure::Disclosure;
pub use id::{PacketId, Qos};
pub use kind::Kind;
pub use message::Message;
pub use problem::{Problem, Refusal, Retry};
pub use profile::{Durability, Overflow, Profile, Requirement};
pub use publish::Publish;
pub use question::Question;
pub use reason::Reason;
pub use report::{DeliveryReport, Reported};
pub use subscribe::{SubAck, Subscribe, SubscribeItem, UnsubAck, Unsubscribe};
pub use topic::{TopicFilter, TopicName};

use crate::codec::dictionary::Dictionary;

/// A packet of the model.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Packet {
    Connect(Box<Connect>),
    ConnAck(Box<ConnAck>),
    Publish(Publish),
    PubAck(Ack),
    PubRec(Ack),
    PubRel(Ack),
    PubComp(Ack),
    Subscribe(Box<Subscribe>),
    SubAck(Box<SubAck>),
    Unsubscribe(Box<Unsubscribe>),
    UnsubAck(Box<UnsubAck>),
    PingReq(Ping),
    PingResp(Ping),
    Disconnect(Disconnect),
    Notice(Notice),
}

impl Packet {
    pub fn kind(&self) -> Kind {
        match self {
            Packet::Connect(_) => Kind::Connect,
            Packet::ConnAck(_) => Kind::ConnAck,
            Packet::Publish(_) => Kind::Publish,
            Packet::PubAck(_) => Kind::PubAck,
            Packet::PubRec(_) => Kind::PubRec,
            Packet::PubRel(_) => Kind::PubRel,
            Packet::PubComp(_) => Kind::PubComp,
            Packet::Subscribe(_) => Kind::Subscribe,
            Packet::SubAck(_) => Kind::SubAck,
            Packet::Unsubscribe(_) => Kind::Unsubscribe,
            Packet::UnsubAck(_) => Kind::UnsubAck,
            Packet::PingReq(_) => Kind::PingReq,
            Packet::PingResp(_) => Kind::PingResp,
            Packet::Disconnect(_) => Kind::Disconnect,
            Packet::Notice(_) => Kind::Notice,
        }
    }

    pub fn dictionary(&self) -> &Dictionary {
        match self {
            Packet::Connect(packet) => &packet.dictionary,
            Packet::ConnAck(packet) => &packet.dictionary,
            Packet::Publish(packet) => &packet.dictionary,
            Packet::PubAck(ack) | Packet::PubRec(ack) | Packet::PubRel(ack) | Packet::PubComp(ack) => &ack.dictionary,
            Packet::Subscribe(packet) => &packet.dictionary,
            Packet::SubAck(packet) => &packet.dictionary,
            Packet::Unsubscribe(packet) => &packet.dictionary,
            Packet::UnsubAck(packet) => &packet.dictionary,
            Packet::PingReq(packet) | Packet::PingResp(packet) => &packet.dictionary,
            Packet::Disconnect(packet) => &packet.dictionary,
            Packet::Notice(packet) => &packet.dictionary,
        }
    }

    pub fn dictionary_mut(&mut self) -> &mut Dictionary {
        match self {
            Packet::Connect(packet) => &mut packet.dictionary,
            Packet::ConnAck(packet) => &mut packet.dictionary,
            Packet::Publish(packet) => &mut packet.dictionary,
            Packet::PubAck(ack) | Packet::PubRec(ack) | Packet::PubRel(ack) | Packet::PubComp(ack) => &mut ack.dictionary,
            Packet::Subscribe(packet) => &mut packet.dictionary,
            Packet::SubAck(packet) => &mut packet.dictionary,
            Packet::Unsubscribe(packet) => &mut packet.dictionary,
            Packet::UnsubAck(packet) => &mut packet.dictionary,
            Packet::PingReq(packet) | Packet::PingResp(packet) => &mut packet.dictionary,
            Packet::Disconnect(packet) => &mut packet.dictionary,
            Packet::Notice(packet) => &mut packet.dictionary,
        }
    }
}
