//! What a client does when its connection ends.

use crate::support::{Act, Script, Seen, Server, soon};
use candor_client::protocol::packet::Kind;
use candor_client::protocol::session::{Cause, ServerPolicy};
use candor_client::{
    Client, Dialect, Error, Event, Events, Messages, Misbehaved, Options, Policy, Problem, Qos, Reason, Reconnect, Refusal, Retry,
    SessionState, WillOptions,
};
use std::sync::Arc;
use std::time::Duration;

async fn connect(options: Options) -> (Client, Messages, Events) {
    let memory = Arc::new(candor_client::InProcess::default());
    soon(Client::connect_observed(options.memory(memory))).await.unwrap()
}

async fn event<T>(events: &mut Events, mut wanted: impl FnMut(Event) -> Option<T>) -> T {
    loop {
        let event = soon(events.next()).await.expect("the client has ended");
        if let Some(found) = wanted(event) {
            return found;
        }
    }
}

async fn disconnected(events: &mut Events) -> (Error, Option<Duration>) {
    event(events, |event| if let Event::Disconnected { error, retry_in } = event { Some((error, retry_in)) } else { None }).await
}

async fn connected(events: &mut Events) -> Arc<candor_client::Agreement> {
    event(events, |event| if let Event::Connected(agreement) = event { Some(agreement) } else { None }).await
}

fn refusal(reason: Reason, retry: Option<Retry>) -> Refusal {
    Refusal::new(reason, Problem { title: Some("for the test".to_owned()), retry, ..Problem::default() })
}

#[tokio::test]
async fn a_lost_connection_is_made_again_and_the_session_resumed() {
    let mut server = Server::start(Script::default()).await;
    let (client, mut messages, mut events) = connect(server.options().session_expiry_s(60)).await;
    assert!(!connected(&mut events).await.session_present);
    soon(client.subscribe("a").into_future()).await.unwrap();
    server.act(Act::Cut);
    assert!(matches!(disconnected(&mut events).await, (Error::Transport(_), Some(_))));
    let agreement = connected(&mut events).await;
    assert_eq!((agreement.session_present, agreement.session_state), (true, Some(SessionState::Resumed)));
    let subscribes = server.all_seen().iter().filter(|seen| matches!(seen, Seen::Subscribe(_))).count();
    assert_eq!(subscribes, 1, "a resumed session has its subscriptions");
    server.deliver("a", "x", Qos::AtLeastOnce, 1);
    assert_eq!(soon(messages.next()).await.unwrap().payload(), b"x");
}

#[tokio::test]
async fn a_session_that_a_restart_lost_is_told_as_such_and_subscriptions_are_renewed() {
    for policy in [Policy::Prefer, Policy::Require] {
        // Another life of the server: it knows of no session, and what the client says of its own is all that it has to go by.
        let restarted = Script { incarnation: *b"abcd0000", ..Script::default() };
        let mut server = Server::scripted(vec![Script::default(), restarted]).await;
        let (client, _messages, mut events) = connect(server.options().policy(policy).session_expiry_s(60)).await;
        soon(client.subscribe(["a", "b/#"]).qos(Qos::AtLeastOnce).into_future()).await.unwrap();
        soon(client.unsubscribe("a")).await.unwrap();
        server.act(Act::Cut);
        server.closed().await;
        server.forget_sessions();
        let state = event(&mut events, |event| if let Event::SessionLost { state, .. } = event { Some(state) } else { None }).await;
        assert_eq!(state, Some(SessionState::LostWithRestart), "{policy:?}");
        let renewed = server.wait_for(|seen| if let Seen::Subscribe(packet) = seen { Some(packet) } else { None }).await;
        let filters: Vec<_> = renewed.items.iter().map(|item| (item.filter.as_ref().unwrap().as_str(), item.qos)).collect();
        assert_eq!(filters, [("b/#", Qos::AtLeastOnce)], "{policy:?}");
    }
}

#[tokio::test]
async fn an_answer_to_nothing_from_a_plain_server_is_told_and_the_connection_goes_on() {
    let server = Server::start(Script::old()).await;
    let (client, _messages, mut events) = connect(server.options()).await;
    soon(client.subscribe("a").into_future()).await.unwrap();
    soon(client.unsubscribe("a")).await.unwrap();
    // Some servers answer each filter of an UNSUBSCRIBE by itself.
    server.act(Act::Raw(vec![0xB0, 2, 0, 2]));
    let told = event(
        &mut events,
        |event| if let Event::PacketRefused { kind, refusal, .. } = event { Some((kind, refusal.reason)) } else { None },
    );
    assert_eq!(told.await, (Kind::UnsubAck, Reason::PACKET_IDENTIFIER_NOT_FOUND));
    soon(client.subscribe("b").into_future()).await.unwrap();
}

#[tokio::test]
async fn a_subscription_that_cannot_be_renewed_is_told() {
    let denies = Script { grant: Arc::new(|_, _| Reason::NOT_AUTHORIZED), ..Script::default() };
    let server = Server::scripted(vec![Script::default(), denies]).await;
    let (client, _messages, mut events) = connect(server.options()).await;
    soon(client.subscribe("a").into_future()).await.unwrap();
    server.act(Act::Cut);
    let lost = event(&mut events, |event| match event {
        Event::SubscriptionLost { filter, refusal } => Some((filter.to_string(), refusal.reason)),
        _ => None,
    });
    assert_eq!(lost.await, ("a".to_owned(), Reason::NOT_AUTHORIZED));
}

#[tokio::test]
async fn the_client_comes_back_when_the_server_says() {
    let server = Server::start(Script::default()).await;
    let (_client, _messages, mut events) = connect(server.options()).await;
    server.act(Act::End(refusal(Reason::SERVER_SHUTTING_DOWN, Some(Retry::After { after_ms: 70, jitter_ms: 30 }))));
    let (error, retry_in) = disconnected(&mut events).await;
    assert_eq!(error.refusal().unwrap().reason, Reason::SERVER_SHUTTING_DOWN);
    let wait = retry_in.unwrap().as_millis();
    assert!((70..=100).contains(&wait), "{wait}");
    connected(&mut events).await;
}

#[tokio::test]
async fn a_server_that_says_never_is_obeyed() {
    let mut server = Server::start(Script::default()).await;
    let (client, _messages, mut events) = connect(server.options()).await;
    server.act(Act::End(refusal(Reason::ADMINISTRATIVE_ACTION, Some(Retry::Never))));
    assert_eq!(disconnected(&mut events).await.1, None);
    let error = soon(client.ended()).await;
    assert_eq!(error.refusal().unwrap().reason, Reason::ADMINISTRATIVE_ACTION);
    let connections = server.all_seen().iter().filter(|seen| matches!(seen, Seen::Arrived)).count();
    assert_eq!(connections, 1);
}

#[tokio::test]
async fn a_refusal_on_the_way_back_ends_the_client_when_a_retry_cannot_help() {
    let server = Server::scripted(vec![Script::default(), Script::refusing(refusal(Reason::NOT_AUTHORIZED, None))]).await;
    let (client, _messages, _) = connect(server.options().policy(Policy::Require)).await;
    server.act(Act::Cut);
    let error = soon(client.ended()).await;
    assert!(matches!(&error, Error::Refused(refused) if refused.refusal.reason == Reason::NOT_AUTHORIZED), "{error}");
}

#[tokio::test]
async fn a_client_whose_session_is_taken_waits_longer() {
    let server = Server::start(Script::default()).await;
    let (client, _messages, mut events) = connect(server.options()).await;
    server.act(Act::End(refusal(Reason::SESSION_TAKEN_OVER, None)));
    let (_, retry_in) = disconnected(&mut events).await;
    assert!(retry_in.unwrap() >= Duration::from_secs(5));
    // And it can be told to leave while it waits.
    soon(client.leave()).await;
    assert_eq!(soon(client.ended()).await, Error::Left);
}

#[tokio::test]
async fn a_client_that_gives_up_tells_everybody_why() {
    let server = Server::start(Script::judging(|_| None)).await;
    let (client, mut messages, mut events) = connect(server.options().reconnect(Reconnect::never())).await;
    let pending = soon(client.publish("a", "x").qos(Qos::AtLeastOnce).send()).await.unwrap();
    server.act(Act::Cut);
    let error = soon(client.ended()).await;
    assert!(matches!(error, Error::Transport(_)), "{error}");
    assert_eq!(soon(pending).await, Err(candor_client::PublishError::Ended(error.clone())));
    assert_eq!(soon(client.ping()).await, Err(candor_client::RequestError::Ended(error)));
    assert!(soon(messages.next()).await.is_none());
    assert_eq!(disconnected(&mut events).await.1, None);
    assert_eq!(soon(events.next()).await, None, "the events end with the client");
}

#[tokio::test]
async fn a_request_that_was_on_its_way_is_told_that_its_answer_is_lost() {
    let swallow = |frame: bytes::Bytes| if frame[0] == 0x90 { vec![] } else { vec![frame] };
    let mut server = Server::scripted(vec![Script::tampering(swallow), Script::default()]).await;
    let (client, _messages, _) = connect(server.options()).await;
    let asking = client.clone();
    let asked = tokio::spawn(async move { asking.subscribe("a").await });
    server.wait_for(|seen| matches!(seen, Seen::Subscribe(_)).then_some(())).await;
    server.act(Act::Cut);
    assert_eq!(soon(asked).await.unwrap(), Err(candor_client::RequestError::Lost));
}

#[tokio::test]
async fn the_first_connection_is_tried_again_where_that_was_asked_for() {
    let busy = Script::refusing(refusal(Reason::SERVER_BUSY, Some(Retry::After { after_ms: 5, jitter_ms: 0 })));
    let server = Server::scripted(vec![busy.clone(), busy, Script::default()]).await;
    let options = server.options().policy(Policy::Require);
    let error = soon(Client::connect(options.clone())).await.map(drop).unwrap_err();
    assert!(matches!(error, Error::Refused(_)), "{error}");
    let reconnect = Reconnect::default().also_first(true);
    let (client, _messages, _) = connect(options.reconnect(reconnect)).await;
    assert!(client.agreement().is_some());
}

#[tokio::test]
async fn a_server_that_falls_silent_is_taken_for_lost() {
    let server = Server::start(Script { mute: true, ..Script::default() }).await;
    let (client, _messages, _) = connect(server.options().keep_alive_s(1).policy(Policy::Plain).reconnect(Reconnect::never())).await;
    assert_eq!(soon(client.ended()).await, Error::Misbehaved(Misbehaved::Silent));
}

#[tokio::test]
async fn an_idle_client_stays_connected_by_its_pings() {
    let mut server = Server::start(Script::default()).await;
    let (client, _messages, _) = connect(server.options().keep_alive_s(1)).await;
    for _ in 0..2 {
        server.wait_for(|seen| matches!(seen, Seen::Ping).then_some(())).await;
    }
    assert!(client.agreement().is_some());
}

#[tokio::test]
async fn a_server_that_breaks_the_protocol_is_told_so_and_left() {
    let mut server = Server::start(Script::default()).await;
    let (client, _messages, _) = connect(server.options().reconnect(Reconnect::never())).await;
    // A SUBSCRIBE from the server.
    server.act(Act::Raw(vec![0x82, 6, 0, 1, 0, 0, 1, b'a', 0]));
    let error = soon(client.ended()).await;
    assert!(matches!(error, Error::Misbehaved(_)), "{error}");
    let cause = server.closed().await;
    assert!(matches!(cause, Cause::PeerLeft { reason, .. } if reason.is_error()), "{cause:?}");
}

#[tokio::test]
async fn only_the_first_connection_starts_clean() {
    for policy in [Policy::Require, Policy::Plain] {
        let mut server = Server::start(Script::default()).await;
        let (_client, _messages, _) = connect(server.options().policy(policy).session_expiry_s(60)).await;
        assert!(server.connect().await.clean_session);
        server.act(Act::Cut);
        assert!(!server.connect().await.clean_session, "{policy:?}");
    }
}

#[tokio::test]
async fn what_was_asked_for_stands_in_connect() {
    let mut server = Server::start(Script { policy: ServerPolicy::default(), ..Script::default() }).await;
    let will = WillOptions::new("gone", "x").unwrap().qos(Qos::AtLeastOnce).retain(true);
    let options = server.options().user_name("me").password("secret").keep_alive_s(7).will(will).policy(Policy::Plain);
    let (client, _messages, _) = connect(options).await;
    let connect = server.connect().await;
    assert_eq!((connect.user_name.as_deref(), connect.password.as_deref()), (Some("me"), Some(&b"secret"[..])));
    assert_eq!((connect.keep_alive_s, connect.client_id.as_str(), connect.dialect), (7, "device-1", Dialect::V311));
    let will = connect.will.unwrap();
    assert_eq!((will.message.topic_str(), will.message.payload(), will.qos, will.retain), ("gone", &b"x"[..], Qos::AtLeastOnce, true));
    soon(client.leave_with_will()).await;
    assert!(!matches!(server.closed().await, Cause::PeerLeft { reason: Reason::SUCCESS, .. }));
}

#[tokio::test]
async fn a_clean_start_that_a_plain_server_cannot_keep_is_told() {
    let server = Server::start(Script::old()).await;
    let (_client, _messages, mut events) = connect(server.options().session_expiry_s(60)).await;
    event(&mut events, |event| matches!(event, Event::SessionNotKept).then_some(())).await;
}

#[tokio::test]
async fn a_subscriber_without_a_handle_comes_back_too() {
    let mut server = Server::start(Script::default()).await;
    let (client, mut messages, mut events) = connect(server.options().session_expiry_s(60)).await;
    soon(client.subscribe("a").into_future()).await.unwrap();
    drop(client);
    server.act(Act::Cut);
    disconnected(&mut events).await;
    connected(&mut events).await;
    server.deliver("a", "x", Qos::AtLeastOnce, 1);
    assert_eq!(soon(messages.next()).await.unwrap().payload(), b"x");
    drop(messages);
    server.wait_for(|seen| matches!(seen, Seen::Closed(Cause::PeerLeft { .. })).then_some(())).await;
}

#[tokio::test]
async fn a_server_that_does_not_hang_up_does_not_keep_a_client_that_leaves() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = tokio::spawn(async move {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.read(&mut [0; 100]).await;
        stream.write_all(&[0x20, 2, 0, 0]).await.unwrap();
        std::future::pending::<()>().await;
    });
    let options = Options::new(&format!("mqtt://127.0.0.1:{port}")).unwrap().policy(Policy::Plain);
    let (client, _messages, _) = connect(options).await;
    let leaving = tokio::time::timeout(Duration::from_secs(5), client.leave()).await;
    server.abort();
    assert!(leaving.is_ok(), "it waited for a server that says nothing");
}
