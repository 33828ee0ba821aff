//! What a publisher is told, whatever becomes of message and connection.

use crate::support::{Act, Script, Seen, Server, soon};
use candor_client::protocol::packet::property;
use candor_client::protocol::session::{Cause, Outcome};
use candor_client::{
    Client, Dialect, Durability, Error, Event, Options, Policy, Problem, Properties, PublishError, Qos, Reason, Reconnect, Refusal, Retry,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

async fn connect(options: Options) -> Client {
    let memory = Arc::new(candor_client::InProcess::default());
    soon(Client::connect(options.memory(memory))).await.unwrap().0
}

fn refusal() -> Refusal {
    Refusal::new(Reason::NOT_AUTHORIZED, Problem::titled("no rule allows it").rule("rules.toml:3").retry(Retry::Changed))
}

/// Options of a client whose session outlives its connections.
fn stored(server: &Server) -> Options {
    server.options().clean_start(false).session_expiry_s(3600)
}

#[tokio::test]
async fn every_qos_has_a_receipt_in_every_dialect() {
    for policy in [Policy::Prefer, Policy::Require, Policy::Plain, Policy::Plain31] {
        let mut server = Server::start(Script::default()).await;
        let client = connect(server.options().policy(policy)).await;
        for qos in Qos::ALL {
            let receipt = soon(client.publish("a/b", "hello").qos(qos).into_future()).await.unwrap();
            assert_eq!((receipt.reason, receipt.durability, receipt.stripped), (Reason::SUCCESS, None, false), "{policy:?} {qos}");
            let publish = server.publish().await;
            assert_eq!((publish.message.topic_str(), publish.message.payload(), publish.qos), ("a/b", &b"hello"[..], qos));
        }
    }
}

#[tokio::test]
async fn a_refused_publish_names_its_rule_and_the_connection_lives() {
    let server = Server::start(Script::judging(|publish| {
        let refused = publish.message.topic() == b"secret";
        Some(if refused { Outcome::refused(refusal()) } else { Outcome::accepted() })
    }))
    .await;
    let client = connect(server.options()).await;
    for qos in [Qos::AtLeastOnce, Qos::ExactlyOnce] {
        let error = soon(client.publish("secret", "x").qos(qos).into_future()).await.unwrap_err();
        assert_eq!(error, PublishError::Rejected(refusal()));
        assert!(error.to_string().contains("rules.toml:3"), "{error}");
        assert!(soon(client.publish("open", "x").qos(qos).into_future()).await.is_ok());
    }
}

#[tokio::test]
async fn a_receipt_says_the_durability_that_was_reached() {
    let server = Server::start(Script::judging(|_| Some(Outcome::kept(Durability::Memory)))).await;
    let client = connect(server.options()).await;
    let asked = client.publish("a", "x").qos(Qos::AtLeastOnce).properties(Properties::default().receipt());
    assert_eq!(soon(asked.into_future()).await.unwrap().durability, Some(Durability::Memory));
}

#[tokio::test]
async fn properties_travel_where_they_can_and_a_receipt_says_where_they_could_not() {
    let properties = Properties::default().content_type("text/plain").text("unit", "C").expiry_s(60);
    for (policy, stripped) in [(Policy::Prefer, false), (Policy::Plain, true)] {
        let mut server = Server::start(Script::default()).await;
        let client = connect(server.options().policy(policy)).await;
        let receipt = soon(client.publish("a", "x").qos(Qos::AtLeastOnce).properties(properties.clone()).into_future()).await.unwrap();
        assert_eq!(receipt.stripped, stripped);
        let publish = server.publish().await;
        let content_type: Option<String> = publish.message.dictionary().value(property::CONTENT_TYPE);
        assert_eq!(content_type.is_some(), !stripped);
        assert_eq!(publish.dictionary.value(property::MESSAGE_EXPIRY_INTERVAL), (!stripped).then_some(60));
    }
}

#[tokio::test]
async fn a_least_durability_is_not_asked_of_a_plain_connection() {
    let mut server = Server::start(Script::old()).await;
    let client = connect(server.options()).await;
    let asks = client.publish("a", "x").qos(Qos::AtLeastOnce).properties(Properties::default().minimum_durability(Durability::Disk));
    let error = soon(asks.into_future()).await.unwrap_err();
    assert!(matches!(error, PublishError::NotAvailable { .. }), "{error}");
    assert!(soon(client.publish("b", "y").qos(Qos::AtLeastOnce).into_future()).await.is_ok());
    assert_eq!(server.publish().await.message.topic_str(), "b", "the other was not sent");
}

#[tokio::test]
async fn a_message_that_is_too_large_for_the_server_is_not_sent() {
    let mut script = Script::default();
    script.policy.packet_size_max = 200;
    let server = Server::start(script).await;
    let client = connect(server.options()).await;
    let error = soon(client.publish("a", vec![0; 300]).qos(Qos::AtLeastOnce).into_future()).await.unwrap_err();
    assert!(matches!(error, PublishError::TooLarge { limit: 200, .. }), "{error}");
    assert!(soon(client.publish("a", "small").qos(Qos::AtLeastOnce).into_future()).await.is_ok());
}

#[tokio::test]
async fn a_topic_that_is_none_is_refused_before_it_is_sent() {
    let server = Server::start(Script::default()).await;
    let client = connect(server.options()).await;
    let error = soon(client.publish("a/#", "x").into_future()).await.unwrap_err();
    assert_eq!(error.to_string(), "`a/#`: a topic name holds no wildcard (`+` or `#`)");
}

#[tokio::test]
async fn a_window_of_one_keeps_order_and_loses_nothing() {
    let mut script = Script::default();
    script.policy.receive_window = 1;
    let mut server = Server::start(script).await;
    let client = connect(server.options()).await;
    let mut pending = Vec::new();
    for n in 0..50 {
        pending.push(soon(client.publish("a", n.to_string()).qos(Qos::AtLeastOnce).send()).await.unwrap());
    }
    for pending in pending {
        assert!(soon(pending).await.is_ok());
    }
    for n in 0..50 {
        assert_eq!(server.publish().await.message.payload(), n.to_string().as_bytes());
    }
}

/// Publishes three messages over a connection that is cut after `cut` bytes to the client, and more connections behind it.
async fn publish_over_a_cut(qos: Qos, cut: usize, policy: Policy) {
    let cut_script = Script { cut_after: Some(cut), ..Script::default() };
    let mut server = Server::scripted(vec![cut_script, Script::default()]).await;
    let reconnect = Reconnect::default().delays(Duration::from_millis(1), Duration::from_millis(5)).also_first(true);
    let client = connect(stored(&server).policy(policy).reconnect(reconnect)).await;
    let mut pending = Vec::new();
    for n in 0..3 {
        pending.push(soon(client.publish("a", n.to_string()).qos(qos).send()).await.unwrap());
    }
    for pending in pending {
        assert!(soon(pending).await.is_ok(), "{qos} cut at {cut}");
    }
    soon(client.leave()).await;
    let publishes = server.all_seen().into_iter().filter_map(|seen| match seen {
        Seen::Publish(publish) => Some(String::from_utf8_lossy(publish.message.payload()).into_owned()),
        _ => None,
    });
    let mut received: Vec<_> = publishes.collect();
    if qos == Qos::AtLeastOnce {
        received.sort();
        received.dedup();
    }
    assert_eq!(received, ["0", "1", "2"], "{qos} cut at {cut}");
}

#[tokio::test]
async fn a_stored_session_carries_qos_1_over_a_cut_at_any_byte() {
    for cut in 1..40 {
        publish_over_a_cut(Qos::AtLeastOnce, cut, Policy::Plain).await;
    }
    for cut in (1..160).step_by(7) {
        publish_over_a_cut(Qos::AtLeastOnce, cut, Policy::Require).await;
    }
}

#[tokio::test]
async fn a_stored_session_carries_qos_2_over_a_cut_at_any_byte_exactly_once() {
    for cut in 1..40 {
        publish_over_a_cut(Qos::ExactlyOnce, cut, Policy::Plain).await;
    }
    for cut in (1..160).step_by(7) {
        publish_over_a_cut(Qos::ExactlyOnce, cut, Policy::Require).await;
    }
}

#[tokio::test]
async fn a_lost_session_resends_qos_1_as_new_and_says_that_the_fate_of_qos_2_is_unknown() {
    let mut server = Server::scripted(vec![Script::judging(|_| None), Script::default()]).await;
    let client = connect(stored(&server)).await;
    let mut events = client.events();
    let once = soon(client.publish("a", "1").qos(Qos::AtLeastOnce).send()).await.unwrap();
    let exactly = soon(client.publish("a", "2").qos(Qos::ExactlyOnce).send()).await.unwrap();
    server.publish().await;
    server.publish().await;
    server.act(Act::Cut);
    server.closed().await;
    server.forget_sessions();
    assert_eq!(soon(exactly).await, Err(PublishError::Lost { taken: false }));
    assert!(soon(once).await.is_ok());
    let again = server.publish().await;
    assert_eq!((again.message.payload(), again.dup), (&b"1"[..], false));
    loop {
        if let Event::SessionLost { unsettled, resent, .. } = soon(events.next()).await.unwrap() {
            assert_eq!((unsettled, resent), (1, 1));
            break;
        }
    }
}

#[tokio::test]
async fn what_is_published_without_a_connection_waits_up_to_the_limit_and_is_then_refused() {
    let server = Server::scripted(vec![Script::default(), Script::refusing(busy()), Script::default()]).await;
    let client = connect(server.options().queue_limit(3, 1 << 20)).await;
    let mut events = client.events();
    server.act(Act::Cut);
    while !matches!(soon(events.next()).await, Some(Event::Disconnected { .. })) {}
    let mut pending = Vec::new();
    for n in 0..3 {
        pending.push(soon(client.publish("a", n.to_string()).qos(Qos::AtLeastOnce).send()).await.unwrap());
    }
    let error = soon(client.publish("a", "3").qos(Qos::AtLeastOnce).into_future()).await.unwrap_err();
    assert_eq!(error, PublishError::QueueFull { waiting: 3 });
    for pending in pending {
        assert!(soon(pending).await.is_ok());
    }
}

/// The server wants the client back after a while that a test can wait.
fn busy() -> Refusal {
    Refusal::new(Reason::SERVER_BUSY, Problem::titled("too many connect").retry(Retry::After { after_ms: 300, jitter_ms: 1 }))
}

#[tokio::test]
async fn a_plain_server_that_refuses_by_closing_leaves_no_success_behind() {
    let server = Server::start(Script::judging(|_| Some(Outcome::refused(refusal())))).await;
    let reconnect = Reconnect::default().delays(Duration::from_millis(1), Duration::from_millis(2)).attempts_max(3);
    let client = connect(server.options().policy(Policy::Plain).reconnect(reconnect)).await;
    let error = soon(client.publish("a", "x").qos(Qos::AtLeastOnce).into_future()).await.unwrap_err();
    assert!(matches!(error, PublishError::Ended(Error::Transport(_))), "{error}");
}

#[tokio::test]
async fn a_qos_0_message_has_its_receipt_when_its_bytes_have_left() {
    let mut server = Server::start(Script::default()).await;
    let client = connect(server.options()).await;
    let large = vec![7; 3 << 20];
    let receipt = soon(client.publish("a", large).into_future()).await.unwrap();
    assert_eq!(receipt.dialect, Dialect::Extended);
    assert_eq!(server.publish().await.message.payload().len(), 3 << 20);
}

#[tokio::test]
async fn leaving_writes_what_was_handed_over_before() {
    let mut server = Server::start(Script::default()).await;
    let client = connect(server.options()).await;
    let mut pending = Vec::new();
    for n in 0..20 {
        pending.push(soon(client.publish("a", n.to_string()).send()).await.unwrap());
    }
    soon(client.leave()).await;
    for pending in pending {
        assert!(soon(pending).await.is_ok());
    }
    for n in 0..20 {
        assert_eq!(server.publish().await.message.payload(), n.to_string().as_bytes());
    }
    assert!(matches!(server.closed().await, Cause::PeerLeft { reason: Reason::SUCCESS, .. }));
    let error = soon(client.publish("a", "late").into_future()).await.unwrap_err();
    assert_eq!(error, PublishError::Ended(Error::Left));
}

#[tokio::test]
async fn a_refused_qos_0_message_is_told_by_an_event() {
    let server = Server::start(Script::default()).await;
    let client = connect(server.options()).await;
    let mut events = client.events();
    // Critical and unknown: the server's session refuses it by itself.
    let unknown = Properties::default().hop_key(property::Key::<u64>::new("unknown", 1001), &1);
    soon(client.publish("a/b", "x").properties(unknown).into_future()).await.unwrap();
    loop {
        if let Event::Refused { topic, refusal, .. } = soon(events.next()).await.unwrap() {
            assert_eq!((topic.as_deref(), refusal.reason), (Some("a/b"), Reason::CRITICAL_KEY_UNKNOWN));
            assert_eq!(refusal.problem.field.as_deref(), Some("key 1001"));
            break;
        }
    }
}

#[tokio::test]
async fn many_publishers_share_a_client() {
    let counted = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&counted);
    let server = Server::start(Script::judging(move |_| {
        count.fetch_add(1, Ordering::Relaxed);
        Some(Outcome::accepted())
    }))
    .await;
    let client = connect(server.options()).await;
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..20 {
        let client = client.clone();
        tasks.spawn(async move {
            for n in 0..50 {
                client.publish(format!("t/{task}"), n.to_string()).qos(Qos::AtLeastOnce).await.unwrap();
            }
        });
    }
    soon(tasks.join_all()).await;
    assert_eq!(counted.load(Ordering::Relaxed), 1000);
}

#[tokio::test]
async fn what_an_experiment_adds_travels_only_where_both_ends_run_it() {
    use candor_client::protocol::extension::Registry;
    use candor_client::protocol::extension::priority::{PRIORITY, Priority};
    let mut registry = Registry::default();
    registry.add(Arc::new(Priority)).unwrap();
    let urgent = || Properties::default().hop_key(PRIORITY, &9);
    let mut script = Script::default();
    script.policy.registry = registry.clone();
    let mut server = Server::start(script).await;
    let client = connect(server.options().experiments(registry.clone())).await;
    assert_eq!(client.agreement().unwrap().experiments, ["x-priority"]);
    assert!(soon(client.publish("a", "x").qos(Qos::AtLeastOnce).properties(urgent()).into_future()).await.is_ok());
    assert_eq!(server.publish().await.dictionary.value(PRIORITY), Some(9));
    let other = Server::start(Script::default()).await;
    let client = connect(other.options().experiments(registry)).await;
    assert_eq!(client.agreement().unwrap().experiments, [] as [&str; 0]);
    let error = soon(client.publish("a", "x").qos(Qos::AtLeastOnce).properties(urgent()).into_future()).await.unwrap_err();
    assert!(matches!(error, PublishError::NotAvailable { .. }), "{error}");
}
