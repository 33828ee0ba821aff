//! Subscriptions, messages and their settlement.

use crate::support::{Act, Script, Seen, Server, soon};
use candor_client::protocol::codec::dictionary::{Dictionary, MapBuilder};
use candor_client::protocol::extension::Registry;
use candor_client::protocol::extension::priority::{Priority, with_priority};
use candor_client::protocol::packet::subscribe::items_of;
use candor_client::protocol::packet::topic::TopicName;
use candor_client::protocol::packet::{Message, Notice, Packet, Subscribe, property};
use candor_client::protocol::session::{Cause, Delivery, Outcome};
use candor_client::{
    Client, Dialect, Durability, Error, Event, Events, Incoming, Messages, Options, Policy, Problem, Profile, Qos, Reason, Refusal,
    RequestError, Requirement, Settlement, Subscription,
};
use std::sync::Arc;

async fn connect(options: Options) -> (Client, Messages, Events) {
    let memory = Arc::new(candor_client::InProcess::default());
    soon(Client::connect_observed(options.memory(memory))).await.unwrap()
}

async fn manual(server: &Server, policy: Policy) -> (Client, Messages, Events) {
    connect(server.options().policy(policy).settlement(Settlement::Manual).clean_start(false).session_expiry_s(60)).await
}

async fn next(messages: &mut Messages) -> Incoming {
    soon(messages.next()).await.unwrap()
}

async fn event<T>(events: &mut Events, mut wanted: impl FnMut(Event) -> Option<T>) -> T {
    loop {
        let event = soon(events.next()).await.expect("the client has ended");
        if let Some(found) = wanted(event) {
            return found;
        }
    }
}

fn text(incoming: &Incoming) -> (String, String) {
    (incoming.topic().to_owned(), String::from_utf8_lossy(incoming.payload()).into_owned())
}

#[tokio::test]
async fn each_filter_is_granted_or_refused_for_itself() {
    let problem = Problem::titled("no rule allows it").rule("rules.toml:9");
    let item = Dictionary::with(property::PROBLEM, &problem.to_dictionary());
    let suback = items_of([Dictionary::EMPTY, item, Dictionary::EMPTY]);
    let grant = Arc::new(|at: usize, item: &candor_client::protocol::packet::SubscribeItem| match at {
        1 => Reason::NOT_AUTHORIZED,
        2 => Reason::SUCCESS,
        _ => Reason(item.qos as u8),
    });
    for (policy, told) in [(Policy::Prefer, problem.clone()), (Policy::Plain, Problem::default())] {
        let server = Server::start(Script { grant: grant.clone(), suback: suback.clone(), ..Script::default() }).await;
        let (client, _messages, _) = connect(server.options().policy(policy)).await;
        let granted = soon(client.subscribe(["a/#", "secret", "c"]).qos(Qos::AtLeastOnce).into_future()).await.unwrap();
        let results: Vec<_> = granted.into_iter().map(|granted| (granted.filter.to_string(), granted.result)).collect();
        let reason = if policy == Policy::Prefer { Reason::NOT_AUTHORIZED } else { Reason::UNSPECIFIED_ERROR };
        let expected = [
            ("a/#".to_owned(), Ok(Qos::AtLeastOnce)),
            ("secret".to_owned(), Err(Refusal::new(reason, told))),
            ("c".to_owned(), Ok(Qos::AtMostOnce)),
        ];
        assert_eq!(results, expected, "{policy:?}");
    }
}

#[tokio::test]
async fn a_filter_that_is_none_is_refused_before_it_is_sent() {
    let server = Server::start(Script::default()).await;
    let (client, _messages, _) = connect(server.options()).await;
    let error = soon(client.subscribe("a/#/b").into_future()).await.unwrap_err();
    assert_eq!(error.to_string(), "`a/#/b`: `#` must be the whole of the last level");
    let none: [&str; 0] = [];
    assert!(matches!(soon(client.subscribe(none).into_future()).await, Err(RequestError::Misuse(_))));
}

#[tokio::test]
async fn options_of_a_subscription_are_not_dropped_on_a_plain_connection() {
    let server = Server::start(Script::old()).await;
    let (client, _messages, _) = connect(server.options()).await;
    let error = soon(client.subscribe("a").no_local().into_future()).await.unwrap_err();
    assert!(matches!(error, RequestError::NotAvailable { .. }), "{error}");
    let mut server = Server::start(Script::default()).await;
    let (client, _messages, _) = connect(server.options()).await;
    assert!(soon(client.subscribe("a").no_local().no_retained().into_future()).await.is_ok());
    let packet = subscribe_seen(&mut server).await;
    assert_eq!(packet.dictionary.item(0).value(property::SUBSCRIPTION_OPTIONS), Some(5));
}

/// The next SUBSCRIBE that a server sees.
async fn subscribe_seen(server: &mut Server) -> Box<Subscribe> {
    server.wait_for(|seen| if let Seen::Subscribe(packet) = seen { Some(packet) } else { None }).await
}

#[tokio::test]
async fn each_filter_of_a_request_may_have_a_qos_of_its_own() {
    for policy in [Policy::Prefer, Policy::Plain] {
        let mut server = Server::start(Script::default()).await;
        let (client, _messages, _) = connect(server.options().policy(policy)).await;
        let asked = [Subscription::to("alarm/#").qos(Qos::ExactlyOnce), Subscription::to("chat/#")];
        let granted = soon(client.subscribe(asked).qos(Qos::AtMostOnce).into_future()).await.unwrap();
        let granted: Vec<_> = granted.into_iter().map(|granted| granted.result.unwrap()).collect();
        assert_eq!(granted, [Qos::ExactlyOnce, Qos::AtMostOnce], "{policy:?}");
        let seen: Vec<_> = subscribe_seen(&mut server).await.items.iter().map(|item| item.qos).collect();
        assert_eq!(seen, granted, "{policy:?}");
    }
}

#[tokio::test]
async fn each_filter_of_a_request_may_have_options_and_a_requirement_of_its_own() {
    let mut server = Server::start(Script::default()).await;
    let (client, _messages, _) = connect(server.options()).await;
    let requirement = Requirement { qos_max: Some(1), ..Requirement::default() };
    let asked = vec![Subscription::to("a").no_local(), Subscription::to("b").require(requirement.clone()), Subscription::to("c")];
    soon(client.subscribe(asked).no_retained().into_future()).await.unwrap();
    let dictionary = subscribe_seen(&mut server).await.dictionary;
    let options = [0, 1, 2].map(|at| dictionary.item(at).value(property::SUBSCRIPTION_OPTIONS));
    assert_eq!(options, [Some(5), Some(4), Some(4)], "those of the request are every filter's");
    let required = [0, 1, 2].map(|at| dictionary.item(at).value(property::REQUIRE));
    assert_eq!(required, [None, Some(requirement.to_dictionary()), None]);
    let old = Server::start(Script::old()).await;
    let (client, _messages, _) = connect(old.options()).await;
    let error = soon(client.subscribe(Subscription::to("a").no_local()).into_future()).await.unwrap_err();
    assert!(matches!(error, RequestError::NotAvailable { .. }), "{error}");
}

#[tokio::test]
async fn messages_come_as_they_were_sent_and_are_accepted_when_handed_out() {
    for policy in [Policy::Prefer, Policy::Plain] {
        let mut server = Server::start(Script::default()).await;
        let (client, mut messages, _) = connect(server.options().policy(policy)).await;
        soon(client.subscribe("#").into_future()).await.unwrap();
        for (token, qos) in Qos::ALL.into_iter().enumerate() {
            server.deliver("a/b", &qos.to_string(), qos, token as u64);
            let incoming = next(&mut messages).await;
            assert_eq!(text(&incoming), ("a/b".to_owned(), qos.to_string()));
            assert_eq!((incoming.qos(), incoming.dup(), incoming.retain(), incoming.is_unsettled()), (qos, false, false, false));
            if qos != Qos::AtMostOnce {
                assert_eq!(server.settled().await, (token as u64, Outcome::accepted()), "{policy:?}");
            }
        }
    }
}

#[tokio::test]
async fn what_the_publisher_and_the_server_say_about_a_message_is_told_by_name() {
    let server = Server::start(Script::default()).await;
    let (_client, mut messages, _) = connect(server.options()).await;
    let mut map = MapBuilder::new();
    map.set(property::CONTENT_TYPE, &"text/plain".to_owned());
    let mut hop = MapBuilder::new();
    hop.set(property::PUBLISHER, &"alice".to_owned()).set(property::MESSAGE_EXPIRY_INTERVAL, &30);
    let message = Message::new(&TopicName::new("a").unwrap(), &map.finish(), b"x");
    server.act(Act::Deliver(Delivery { message, qos: Qos::AtMostOnce, retain: true, hop: hop.finish() }, 0));
    let incoming = next(&mut messages).await;
    assert_eq!((incoming.content_type().as_deref(), incoming.publisher().as_deref()), (Some("text/plain"), Some("alice")));
    assert!(incoming.retain() && incoming.dialect() == Dialect::Extended);
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let expected = [pair("content-type", "text/plain"), pair("message-expiry-interval", "30"), pair("publisher", "alice")];
    assert_eq!(incoming.named_properties(), expected);
}

#[tokio::test]
async fn a_key_of_an_experiment_has_its_name() {
    let mut registry = Registry::default();
    registry.add(Arc::new(Priority)).unwrap();
    let mut script = Script::default();
    script.policy.registry = registry.clone();
    let server = Server::start(script).await;
    let (_client, mut messages, _) = connect(server.options().experiments(registry)).await;
    let message = Message::publish("a", "x").unwrap();
    let hop = with_priority(&Dictionary::EMPTY, 7);
    server.act(Act::Deliver(Delivery { message, qos: Qos::AtMostOnce, retain: false, hop }, 0));
    assert_eq!(next(&mut messages).await.named_properties(), [("x-priority".to_owned(), "7".to_owned())]);
}

#[tokio::test]
async fn an_application_settles_a_message_in_its_own_words() {
    let mut server = Server::start(Script::default()).await;
    let (_client, mut messages, _) = manual(&server, Policy::Prefer).await;
    let problem = Problem::titled("not for me").rule("schema");
    for (token, qos) in (0..8).zip([Qos::AtLeastOnce, Qos::ExactlyOnce].into_iter().cycle()) {
        server.deliver("a", "x", qos, token);
        let incoming = next(&mut messages).await;
        assert!(incoming.is_unsettled());
        let expected = match token / 2 {
            0 => {
                incoming.accept();
                Outcome::accepted()
            }
            1 => {
                incoming.reject(problem.clone());
                Outcome::refused(Refusal::new(Reason::REJECTED, problem.clone()))
            }
            2 => {
                incoming.release();
                Outcome::released()
            }
            _ => {
                incoming.modify(250);
                Outcome::modified(250)
            }
        };
        assert_eq!(server.settled().await, (token, expected), "{qos}");
    }
}

#[tokio::test]
async fn a_message_that_is_dropped_unsettled_is_released_and_that_is_told() {
    let mut server = Server::start(Script::default()).await;
    let (_client, mut messages, mut events) = manual(&server, Policy::Prefer).await;
    server.deliver("a/b", "x", Qos::AtLeastOnce, 7);
    drop(next(&mut messages).await);
    assert_eq!(server.settled().await, (7, Outcome::released()));
    let topic = event(&mut events, |event| if let Event::DroppedUnsettled { topic } = event { Some(topic) } else { None }).await;
    assert_eq!(topic, "a/b");
}

#[tokio::test]
async fn a_plain_server_cannot_be_told_of_a_rejection_and_the_application_is() {
    let mut server = Server::start(Script::old()).await;
    let (_client, mut messages, mut events) = manual(&server, Policy::Plain).await;
    server.deliver("a/b", "x", Qos::AtLeastOnce, 7);
    next(&mut messages).await.reject(Problem::titled("not for me"));
    assert_eq!(server.settled().await, (7, Outcome::accepted()));
    let title = event(&mut events, |event| match event {
        Event::RejectedUnheard { problem, .. } => problem.title.clone(),
        _ => None,
    });
    assert_eq!(title.await, "not for me");
}

#[tokio::test]
async fn a_release_on_a_plain_connection_ends_it_and_the_message_comes_again() {
    for qos in [Qos::AtLeastOnce, Qos::ExactlyOnce] {
        let mut server = Server::start(Script::old()).await;
        let (_client, mut messages, mut events) = manual(&server, Policy::Plain).await;
        server.deliver("a/b", "x", qos, 7);
        next(&mut messages).await.release();
        let gone = event(&mut events, |event| if let Event::Disconnected { error, .. } = event { Some(error) } else { None }).await;
        assert!(matches!(gone, Error::GivenBack(_)), "{gone}");
        let again = next(&mut messages).await;
        assert!(again.dup());
        again.accept();
        assert_eq!(server.settled().await, (7, Outcome::accepted()), "{qos}");
    }
}

#[tokio::test]
async fn a_qos_2_message_can_be_settled_over_a_reconnect_and_is_handed_out_once() {
    for policy in [Policy::Require, Policy::Plain] {
        let mut server = Server::start(Script::default()).await;
        let (_client, mut messages, mut events) = manual(&server, policy).await;
        server.deliver("a", "first", Qos::ExactlyOnce, 7);
        let incoming = next(&mut messages).await;
        server.act(Act::Cut);
        event(&mut events, |event| matches!(event, Event::Connected(_)).then_some(())).await;
        event(&mut events, |event| matches!(event, Event::Connected(_)).then_some(())).await;
        incoming.accept();
        assert_eq!(server.settled().await, (7, Outcome::accepted()), "{policy:?}");
        server.deliver("a", "second", Qos::ExactlyOnce, 8);
        assert_eq!(text(&next(&mut messages).await).1, "second", "{policy:?}: not handed out twice");
    }
}

#[tokio::test]
async fn a_settlement_that_comes_too_late_is_told() {
    let server = Server::start(Script::default()).await;
    let (_client, mut messages, mut events) = manual(&server, Policy::Require).await;
    server.deliver("a/b", "x", Qos::AtLeastOnce, 7);
    let incoming = next(&mut messages).await;
    server.act(Act::Cut);
    let again = next(&mut messages).await;
    assert!(again.dup(), "it comes again because nobody settled it");
    incoming.accept();
    let topic = event(&mut events, |event| if let Event::SettledTooLate { topic } = event { Some(topic) } else { None }).await;
    assert_eq!(topic, "a/b");
    again.accept();
}

#[tokio::test]
async fn a_slow_consumer_holds_the_server_back_and_loses_nothing() {
    const COUNT: u64 = 5000;
    let server = Server::start(Script::default()).await;
    let (client, mut messages, _) = connect(server.options()).await;
    for n in 0..COUNT {
        server.deliver("a", &n.to_string(), Qos::AtMostOnce, n);
    }
    // The client's side is full long before that; what comes behind it waits with the server.
    for n in 0..COUNT {
        assert_eq!(text(&next(&mut messages).await).1, n.to_string());
    }
    assert!(client.agreement().is_some());
}

#[tokio::test]
async fn a_server_that_is_held_back_for_long_is_told_and_not_taken_for_lost() {
    const COUNT: u64 = 3000;
    let server = Server::start(Script::default()).await;
    let (_client, mut messages, mut events) = connect(server.options().keep_alive_s(1)).await;
    for n in 0..COUNT {
        server.deliver("a", &n.to_string(), Qos::AtMostOnce, n);
    }
    // Several keep alive intervals pass until then.
    event(&mut events, |event| matches!(event, Event::HeldBack { .. }).then_some(())).await;
    for n in 0..COUNT {
        assert_eq!(text(&next(&mut messages).await).1, n.to_string());
    }
    let others: Vec<_> = std::iter::from_fn(|| events.ready()).collect();
    assert_eq!(others, [], "the connection lived on");
}

#[tokio::test]
async fn the_receive_maximum_bounds_what_waits_for_its_settlement() {
    let server = Server::start(Script::default()).await;
    let options = server.options().settlement(Settlement::Manual).receive_maximum(3);
    let (client, mut messages, _) = connect(options).await;
    for n in 0..10 {
        server.deliver("a", &n.to_string(), Qos::AtLeastOnce, n);
    }
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(next(&mut messages).await);
    }
    // An answer to this comes behind everything that the server has sent.
    soon(client.ping()).await.unwrap();
    assert!(messages.ready().is_none(), "a fourth one was sent");
    held.remove(0).accept();
    assert_eq!(text(&next(&mut messages).await).1, "3");
}

#[tokio::test]
async fn without_a_listener_messages_are_not_taken_and_that_is_told_once() {
    let mut server = Server::start(Script::default()).await;
    let (_client, messages, mut events) = connect(server.options()).await;
    drop(messages);
    server.deliver("a/b", "x", Qos::AtLeastOnce, 7);
    assert_eq!(server.settled().await, (7, Outcome::released()));
    let topic = event(&mut events, |event| if let Event::NobodyListens { topic } = event { Some(topic) } else { None }).await;
    assert_eq!(topic, "a/b");
}

#[tokio::test]
async fn a_message_with_a_critical_key_that_is_not_known_is_rejected_and_not_handed_out() {
    let mut server = Server::start(Script::default()).await;
    let (_client, mut messages, mut events) = connect(server.options()).await;
    let mut map = MapBuilder::new();
    map.put(1001, |out| out.push(0));
    let message = Message::new(&TopicName::new("a").unwrap(), &map.finish(), b"x");
    server.act(Act::Deliver(Delivery { message, qos: Qos::AtLeastOnce, retain: false, hop: Dictionary::EMPTY }, 7));
    let (token, outcome) = server.settled().await;
    assert_eq!((token, outcome.reason), (7, Reason::CRITICAL_KEY_UNKNOWN));
    event(&mut events, |event| matches!(event, Event::NotUnderstood { .. }).then_some(())).await;
    server.deliver("a", "next", Qos::AtMostOnce, 8);
    assert_eq!(text(&next(&mut messages).await).1, "next");
}

#[tokio::test]
async fn notices_become_events() {
    let server = Server::start(Script::default()).await;
    let (client, _messages, mut events) = connect(server.options()).await;
    let say = |reason, map: &mut MapBuilder| server.act(Act::Say(Packet::Notice(Notice { reason, dictionary: map.finish() })));
    let expired = u64::from(Reason::MESSAGE_EXPIRED.0);
    say(Reason::GAP, MapBuilder::new().set(property::COUNT, &12).set(property::REASON, &expired).set(property::TOPIC, &"a".to_owned()));
    let gap = event(&mut events, |event| match event {
        Event::Gap { count, topic, refusal } => Some((count, topic, refusal.reason)),
        _ => None,
    });
    assert_eq!(gap.await, (12, Some("a".to_owned()), Reason::MESSAGE_EXPIRED));
    let now = Profile { durability: Durability::Memory, ..Profile::default() };
    say(Reason::PROFILE_CHANGED, MapBuilder::new().set(property::PROFILE, &now.to_dictionary()));
    let changed = event(&mut events, |event| if let Event::ProfileChanged(profile) = event { Some(*profile) } else { None });
    assert_eq!(changed.await, now);
    assert_eq!(client.agreement().unwrap().profile, Some(now));
    say(Reason::DRAINING, &mut MapBuilder::new());
    let notice = event(&mut events, |event| if let Event::Notice(notice) = event { Some(notice.reason) } else { None });
    assert_eq!(notice.await, Reason::DRAINING);
}

#[tokio::test]
async fn unsubscribing_says_filter_by_filter_what_was_done() {
    for policy in [Policy::Prefer, Policy::Plain] {
        let server = Server::start(Script::default()).await;
        let (client, _messages, _) = connect(server.options().policy(policy)).await;
        assert_eq!(soon(client.unsubscribe(["a", "b"])).await, Ok(vec![Reason::SUCCESS; 2]), "{policy:?}");
        assert!(soon(client.ping()).await.is_ok());
    }
}

#[tokio::test]
async fn requests_without_an_answer_are_bounded_and_those_behind_them_wait() {
    let mut server = Server::start(Script { mute: true, ..Script::default() }).await;
    let (client, _messages, _) = connect(server.options().policy(Policy::Require)).await;
    let asking: Vec<_> = (0..400)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.ping().await })
        })
        .collect();
    for _ in 0..256 {
        server.wait_for(|seen| matches!(seen, Seen::Ping).then_some(())).await;
    }
    // What is published goes past them, and its receipt comes behind everything that was sent before.
    soon(client.publish("a", "x").qos(Qos::AtLeastOnce).into_future()).await.unwrap();
    let more = server.all_seen().into_iter().filter(|seen| matches!(seen, Seen::Ping)).count();
    assert_eq!(more, 0);
    soon(client.leave()).await;
    for asked in asking {
        assert!(soon(asked).await.unwrap().is_err());
    }
}

#[tokio::test]
async fn a_suback_with_too_few_reasons_is_the_servers_fault() {
    let short = |frame: bytes::Bytes| match frame[0] {
        0x90 => vec![bytes::Bytes::copy_from_slice(&[0x90, 3, frame[2], frame[3], 0])],
        _ => vec![frame],
    };
    let server = Server::start(Script::tampering(short)).await;
    let (client, _messages, _) = connect(server.options().policy(Policy::Plain)).await;
    let error = soon(client.subscribe(["a", "b"]).into_future()).await.unwrap_err();
    assert!(matches!(error, RequestError::Misbehaved(_)), "{error}");
}

#[tokio::test]
async fn dropping_every_handle_says_goodbye() {
    let mut server = Server::start(Script::default()).await;
    let (client, messages, _) = connect(server.options()).await;
    drop((client, messages));
    assert!(matches!(server.closed().await, Cause::PeerLeft { reason: Reason::SUCCESS, .. }));
}

#[tokio::test]
async fn a_subscriber_needs_no_handle() {
    let server = Server::start(Script::default()).await;
    let (client, mut messages, _) = connect(server.options()).await;
    soon(client.subscribe("a").into_future()).await.unwrap();
    drop(client);
    for n in 0..3 {
        server.deliver("a", &n.to_string(), Qos::AtLeastOnce, n);
        assert_eq!(text(&next(&mut messages).await).1, n.to_string());
    }
}

#[tokio::test]
async fn who_takes_events_too_slowly_is_told_how_many_are_missing() {
    let server = Server::start(Script::default()).await;
    let (client, mut messages, mut events) = connect(server.options()).await;
    for _ in 0..400 {
        server.act(Act::Say(Packet::Notice(Notice { reason: Reason::DRAINING, dictionary: Dictionary::EMPTY })));
    }
    // This comes behind them.
    server.deliver("a", "x", Qos::AtMostOnce, 0);
    next(&mut messages).await;
    let Some(Event::Missed(missed)) = events.ready() else { panic!("nothing was missed of 400 events with room for 256") };
    let left = std::iter::from_fn(|| events.ready()).count();
    assert_eq!(missed as usize + left, 401, "the notices, and that it was connected");
    assert!(client.agreement().is_some());
}
