//! Which dialect a client ends in, and what it makes of servers that decline, break or lie.

use crate::support::{Script, Seen, Server, soon};
use bytes::{Bytes, BytesMut};
use candor_client::protocol::dialect::offer::BadAccept;
use candor_client::protocol::session::{Extended, ServerPolicy};
use candor_client::{
    Because, Client, Dialect, Door, Durability, Error, Event, Events, InProcess, Loss, Memory, MemoryError, Misbehaved, NotAvailable,
    Options, Policy, Problem, Reason, Recollection, Reconnect, Refusal, Requirement, Retry,
};
use std::sync::Arc;

/// A client with a memory of its own, so that tests do not know of each other.
async fn connect(options: Options) -> Result<(Client, Events), Error> {
    let connected = soon(Client::connect_observed(options.memory(Arc::new(InProcess::default())))).await;
    connected.map(|(client, _, events)| (client, events))
}

/// Why the client is downgraded, if the events so far say so.
async fn downgraded(client: &Client, events: &mut Events) -> Option<Because> {
    soon(client.leave()).await;
    while let Some(event) = soon(events.next()).await {
        if let Event::Downgraded { because, losses } = event {
            assert_eq!(losses, Loss::ALL);
            return Some(because);
        }
    }
    None
}

fn dialect(client: &Client) -> (Dialect, Door) {
    let agreement = client.agreement().unwrap();
    (agreement.dialect, agreement.door)
}

fn unauthorized() -> Refusal {
    Refusal::new(Reason::NOT_AUTHORIZED, Problem::titled("no rule admits you").rule("listeners.toml:7").retry(Retry::Never))
}

#[tokio::test]
async fn an_offer_over_clear_tcp_makes_the_connection_extended() {
    let mut server = Server::start(Script::default()).await;
    let (client, mut events) = connect(server.options()).await.unwrap();
    assert_eq!(dialect(&client), (Dialect::Extended, Door::Offer));
    let agreement = client.agreement().unwrap();
    assert_eq!(agreement.profile.as_ref().map(|profile| profile.durability), Some(Durability::None));
    assert_eq!(agreement.node.as_deref(), Some("test"));
    assert_eq!(server.connect().await.dialect, Dialect::V311);
    server.wait_for(|seen| matches!(seen, Seen::Confirmed).then_some(())).await;
    assert_eq!(downgraded(&client, &mut events).await, None);
}

#[tokio::test]
async fn an_old_server_declines_and_the_client_says_what_is_missing() {
    let mut server = Server::start(Script::old()).await;
    let (client, mut events) = connect(server.options()).await.unwrap();
    assert_eq!(dialect(&client), (Dialect::V311, Door::Offer));
    assert_eq!(client.agreement().unwrap().profile, None, "an old server declares nothing");
    assert_eq!(downgraded(&client, &mut events).await, Some(Because::Declined));
    let connections = server.all_seen().iter().filter(|seen| matches!(seen, Seen::Arrived)).count();
    assert_eq!(connections, 1, "a declined offer costs no connection");
}

#[tokio::test]
async fn a_client_that_wants_plain_connections_makes_no_offer() {
    for (policy, expected) in [(Policy::Plain, Dialect::V311), (Policy::Plain31, Dialect::V31)] {
        let mut server = Server::start(Script::default()).await;
        let (client, mut events) = connect(server.options().policy(policy)).await.unwrap();
        assert_eq!(dialect(&client), (expected, Door::Plain(expected)));
        assert_eq!(downgraded(&client, &mut events).await, None, "what was not asked for is not missing");
        assert!(server.all_seen().iter().all(|seen| !matches!(seen, Seen::Unsubscribe | Seen::Confirmed)));
    }
}

#[tokio::test]
async fn a_client_that_requires_the_extension_connects_by_the_extended_connect() {
    let mut server = Server::start(Script::default()).await;
    let (client, _) = connect(server.options().policy(Policy::Require)).await.unwrap();
    assert_eq!(dialect(&client), (Dialect::Extended, Door::Extended));
    assert_eq!(server.connect().await.dialect, Dialect::Extended);
}

#[tokio::test]
async fn a_client_that_requires_the_extension_takes_nothing_less() {
    let off = ServerPolicy { extended: Extended::Off, ..ServerPolicy::default() };
    for script in [Script::old(), Script { policy: off, ..Script::default() }] {
        let mut server = Server::start(script).await;
        let error = connect(server.options().policy(Policy::Require)).await.unwrap_err();
        assert!(matches!(error, Error::NotAvailable(NotAvailable::Extension { .. })), "{error}");
        let connections = server.all_seen().iter().filter(|seen| matches!(seen, Seen::Arrived)).count();
        assert_eq!(connections, 1, "there is no second try with less");
    }
}

#[tokio::test]
async fn a_requirement_is_never_traded_for_a_plain_connection() {
    let server = Server::start(Script::old()).await;
    let requirement = Requirement { durability: Some(Durability::Memory), ..Requirement::default() };
    let error = connect(server.options().require(requirement)).await.unwrap_err();
    assert!(matches!(error, Error::NotAvailable(NotAvailable::Extension { .. })), "{error}");
}

#[tokio::test]
async fn a_requirement_that_fails_names_the_clause_and_the_nearest_profile() {
    let mut script = Script::default();
    script.policy.profile.durability = Durability::Memory;
    let server = Server::start(script).await;
    let requirement = Requirement { durability: Some(Durability::Disk), ..Requirement::default() };
    let error = connect(server.options().require(requirement)).await.unwrap_err();
    let Error::NotAvailable(NotAvailable::Profile(refused)) = &error else { panic!("{error}") };
    assert_eq!(refused.refusal.problem.field.as_deref(), Some("require: durability"));
    assert_eq!(refused.nearest.as_ref().unwrap().durability, Durability::Memory);
    assert!(error.to_string().contains("it keeps messages at `memory`"), "{error}");
}

#[tokio::test]
async fn a_connection_that_dies_of_the_offer_is_tried_once_without_and_that_is_told_and_remembered() {
    let dies = Script { dies_of_second_packet: true, ..Script::old() };
    let mut server = Server::scripted(vec![dies, Script::old()]).await;
    let memory: Arc<dyn Memory> = Arc::new(InProcess::default());
    for because in [Because::OfferKilledConnection, Because::OfferKilledConnectionBefore] {
        let options = server.options().memory(Arc::clone(&memory));
        let (client, _, mut events) = soon(Client::connect_observed(options)).await.unwrap();
        assert_eq!(dialect(&client), (Dialect::V311, Door::Plain(Dialect::V311)));
        assert_eq!(downgraded(&client, &mut events).await, Some(because));
    }
    let connections = server.all_seen().iter().filter(|seen| matches!(seen, Seen::Arrived)).count();
    assert_eq!(connections, 3);
}

#[tokio::test]
async fn a_server_on_clear_tcp_that_no_longer_accepts_is_told_and_not_held_to_it() {
    let server = Server::start(Script::default()).await;
    let memory: Arc<dyn Memory> = Arc::new(InProcess::default());
    let options = || server.options().memory(Arc::clone(&memory));
    let (client, _, _) = soon(Client::connect_observed(options())).await.unwrap();
    soon(client.leave()).await;
    server.now_follow(Script::old());
    let (client, _, mut events) = soon(Client::connect_observed(options())).await.unwrap();
    assert_eq!(downgraded(&client, &mut events).await, Some(Because::SpokeBefore));
    let (client, _, mut events) = soon(Client::connect_observed(options())).await.unwrap();
    assert_eq!(downgraded(&client, &mut events).await, Some(Because::Declined), "it is told once");
}

/// Whether a frame is the UNSUBACK that carries an accept.
fn is_accept(frame: &Bytes) -> bool {
    frame[0] == 0xB0 && frame.len() > 4
}

#[tokio::test]
async fn an_accept_that_was_stripped_on_the_way_is_a_no() {
    let strip = |frame: Bytes| if is_accept(&frame) { vec![Bytes::from_static(&[0xB0, 2, 0xFF, 0xFF])] } else { vec![frame] };
    let server = Server::start(Script::tampering(strip)).await;
    let (client, mut events) = connect(server.options()).await.unwrap();
    assert_eq!(downgraded(&client, &mut events).await, Some(Because::Declined));
}

#[tokio::test]
async fn an_accept_that_was_changed_on_the_way_is_an_error_and_no_fallback() {
    let flip = |at_from_front: usize| {
        move |frame: Bytes| {
            let mut bytes = BytesMut::from(&frame[..]);
            if is_accept(&frame) {
                // Behind the header of two or three bytes and the identifier.
                let at = at_from_front + if frame[1] & 0x80 == 0 { 4 } else { 5 };
                bytes[at] ^= 1;
            }
            vec![bytes.freeze()]
        }
    };
    for (at, expected) in [(0, BadAccept::NotAnAccept), (5, BadAccept::WrongNonce), (25, BadAccept::WrongHash)] {
        let mut server = Server::start(Script::tampering(flip(at))).await;
        let error = connect(server.options()).await.unwrap_err();
        assert_eq!(error, Error::Misbehaved(Misbehaved::BadAccept(expected)));
        let connections = server.all_seen().iter().filter(|seen| matches!(seen, Seen::Arrived)).count();
        assert_eq!(connections, 1);
    }
}

#[tokio::test]
async fn an_accept_that_comes_after_the_no_ends_the_client() {
    let late = |frame: Bytes| match frame[0] {
        0xB0 => vec![Bytes::from_static(&[0xD0, 0]), frame],
        _ => vec![frame],
    };
    let server = Server::start(Script::tampering(late)).await;
    let (client, _) = connect(server.options()).await.unwrap();
    assert_eq!(soon(client.ended()).await, Error::Misbehaved(Misbehaved::BadAccept(BadAccept::TooLate)));
}

#[tokio::test]
async fn a_server_that_never_answers_the_unsubscribe_declines_with_its_pingresp() {
    let silent = |frame: Bytes| if frame[0] == 0xB0 { vec![] } else { vec![frame] };
    let server = Server::start(Script { tamper: Some(Arc::new(silent)), ..Script::old() }).await;
    let (client, mut events) = connect(server.options()).await.unwrap();
    assert_eq!(downgraded(&client, &mut events).await, Some(Because::Declined));
}

#[tokio::test]
async fn a_plain_refusal_is_asked_once_why() {
    let mut server = Server::start(Script::refusing(unauthorized())).await;
    let error = connect(server.options()).await.unwrap_err();
    let Error::Refused(refused) = &error else { panic!("{error}") };
    assert_eq!(refused.refusal, unauthorized());
    assert_eq!(refused.dialect, Dialect::Extended);
    let dialects: Vec<_> = server
        .all_seen()
        .into_iter()
        .filter_map(|seen| if let Seen::Connect(connect) = seen { Some(connect.dialect) } else { None })
        .collect();
    assert_eq!(dialects, [Dialect::V311, Dialect::Extended]);
}

#[tokio::test]
async fn an_old_server_that_refuses_is_believed_without_a_reason() {
    let mut server = Server::start(Script { refuse: Some(unauthorized()), ..Script::old() }).await;
    let error = connect(server.options()).await.unwrap_err();
    let Error::Refused(refused) = &error else { panic!("{error}") };
    assert_eq!(refused.refusal, Refusal::bare(Reason::NOT_AUTHORIZED));
    assert!(error.to_string().contains("MQTT 3.1.1 can say no more"), "{error}");
    let connections = server.all_seen().iter().filter(|seen| matches!(seen, Seen::Arrived)).count();
    assert_eq!(connections, 2);
}

#[tokio::test]
async fn a_listener_for_extended_clients_alone_is_entered_by_the_second_door() {
    let policy = ServerPolicy { extended: Extended::Required, ..ServerPolicy::default() };
    let server = Server::start(Script { policy, ..Script::default() }).await;
    let (client, _) = connect(server.options()).await.unwrap();
    assert_eq!(dialect(&client), (Dialect::Extended, Door::Extended));
}

#[tokio::test]
async fn a_server_that_says_nothing_is_given_up_after_the_connect_timeout() {
    let hang = |_: Bytes| vec![];
    let server = Server::start(Script::tampering(hang)).await;
    let options = server.options().connect_timeout(std::time::Duration::from_millis(50));
    assert_eq!(connect(options).await.unwrap_err(), Error::Misbehaved(Misbehaved::Silent));
}

#[tokio::test]
async fn what_is_no_server_is_told_as_such() {
    let http = |_: Bytes| vec![Bytes::from_static(b"GET / HTTP/1.1\r\n\r\n")];
    let server = Server::start(Script::tampering(http)).await;
    let options = server.options().connect_timeout(std::time::Duration::from_millis(200));
    let error = connect(options).await.unwrap_err();
    assert!(matches!(error, Error::Misbehaved(_)), "{error}");
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let options = Options::new(&format!("mqtt://{closed}")).unwrap().reconnect(Reconnect::never());
    let error = connect(options).await.unwrap_err();
    assert!(matches!(&error, Error::Transport(error) if error.step == candor_client::Step::Connect), "{error}");
}

#[tokio::test]
async fn a_connection_that_dies_before_connack_did_not_die_of_the_offer() {
    let silent = Script { cut_after: Some(0), ..Script::default() };
    let mut server = Server::scripted(vec![silent, Script::default()]).await;
    let error = connect(server.options()).await.unwrap_err();
    assert!(matches!(error, Error::Transport(_)), "{error}");
    let connections = server.all_seen().iter().filter(|seen| matches!(seen, Seen::Arrived)).count();
    assert_eq!(connections, 1);
}

/// Sends `count` messages, plain, between CONNACK and the answer to the offer.
fn in_between(count: usize) -> Script {
    Script::tampering(move |frame: Bytes| {
        let mut frames = vec![frame];
        if frames[0][0] == 0x20 {
            frames.extend((0..count).map(|n| Bytes::copy_from_slice(&[0x30, 4, 0, 1, b'a', n as u8])));
        }
        frames
    })
}

#[tokio::test]
async fn messages_between_connack_and_the_answer_come_first() {
    let server = Server::start(in_between(3)).await;
    let (client, mut messages) = soon(Client::connect(server.options())).await.unwrap();
    assert_eq!(client.agreement().unwrap().dialect, Dialect::Extended);
    server.deliver("a", "3", candor_client::Qos::AtMostOnce, 0);
    for expected in [[0], [1], [2], [b'3']] {
        assert_eq!(soon(messages.next()).await.unwrap().payload(), expected);
    }
}

#[tokio::test]
async fn a_server_that_floods_the_client_before_it_answers_is_left() {
    let server = Server::start(in_between(10_001)).await;
    assert_eq!(connect(server.options()).await.unwrap_err(), Error::Misbehaved(Misbehaved::TooMuchTooEarly));
}

/// A memory that has lost itself.
#[derive(Debug)]
struct Broken;

impl Memory for Broken {
    fn recall(&self, _server: &str) -> Result<Recollection, MemoryError> {
        Err(MemoryError("it cannot be read".to_owned()))
    }

    fn remember(&self, _server: &str, _what: Recollection) -> Result<(), MemoryError> {
        Err(MemoryError("it cannot be written".to_owned()))
    }
}

#[tokio::test]
async fn a_memory_that_fails_is_told_and_does_not_keep_a_client_from_its_server() {
    let server = Server::start(Script::default()).await;
    let (client, _, mut events) = soon(Client::connect_observed(server.options().memory(Arc::new(Broken)))).await.unwrap();
    assert!(client.agreement().is_some());
    let failed: Vec<_> = std::iter::from_fn(|| events.ready()).filter(|event| matches!(event, Event::MemoryFailed(_))).collect();
    assert_eq!(failed.len(), 2);
}

#[tokio::test]
async fn properties_of_a_will_that_a_plain_connect_cannot_carry_are_told() {
    let will = || {
        let properties = candor_client::Properties::default().content_type("text/plain");
        candor_client::WillOptions::new("gone", "x").unwrap().properties(properties)
    };
    for (policy, told) in [(Policy::Prefer, true), (Policy::Require, false)] {
        let mut server = Server::start(Script::default()).await;
        let (_client, mut events) = connect(server.options().policy(policy).will(will())).await.unwrap();
        let lost = std::iter::from_fn(|| events.ready()).any(|event| matches!(event, Event::WillPropertiesLost));
        assert_eq!(lost, told, "{policy:?}");
        let carried = server.connect().await.will.unwrap().message.dictionary();
        assert_eq!(carried.is_empty(), told);
    }
}
