//! What a session in a store survives, through the library.

use crate::support::{Act, Place, Script, Seen, Server, soon};
use candor_client::protocol::packet::property;
use candor_client::store::{Record, StoredSession};
use candor_client::{
    Client, Error, Event, FileStore, InMemory, Messages, Options, Policy, PublishError, Qos, SessionStore, Settlement, StoreError,
};
use std::sync::{Arc, Mutex, mpsc};
use tokio::sync::Notify;

const DIALECTS: [Policy; 2] = [Policy::Require, Policy::Plain];

fn stored(server: &Server, policy: Policy, store: &Arc<dyn SessionStore>) -> Options {
    server.options().policy(policy).session_expiry_s(3600).settlement(Settlement::Manual).store(Arc::clone(store))
}

async fn connect(options: Options) -> (Client, Messages) {
    soon(Client::connect(options)).await.unwrap()
}

/// Gives a store that carries on where the last one from here ended, each time it is asked.
fn each_store(place: &Place) -> Vec<Box<dyn FnMut() -> Arc<dyn SessionStore> + '_>> {
    let memory = Arc::new(InMemory::default());
    vec![Box::new(move || Arc::clone(&memory) as _), Box::new(|| Arc::new(FileStore::open(place.file("session")).unwrap()) as _)]
}

/// The client is gone without a word, as a process that is killed.
async fn vanish(server: &mut Server, client: Client, messages: Messages) {
    server.now_follow(Script::refusing(busy()));
    server.act(Act::Cut);
    server.closed().await;
    // What leaving adds to a kill is DISCONNECT, and there is no connection.
    soon(client.leave()).await;
    drop(messages);
}

#[tokio::test]
async fn what_was_handed_over_in_one_life_is_settled_in_the_next_exactly_once() {
    for policy in DIALECTS {
        let place = Place::new();
        for mut store in each_store(&place) {
            let mut server = Server::start(Script::judging(|_| None)).await;
            let (client, messages) = connect(stored(&server, policy, &store())).await;
            for n in 0..3 {
                soon(client.publish("a", n.to_string()).qos(Qos::ExactlyOnce).keep()).await.unwrap();
                assert_eq!(server.publish().await.message.payload(), n.to_string().as_bytes());
            }
            vanish(&mut server, client, messages).await;
            // The server had them all, and settles them now.
            server.now_follow(Script::default());
            server.settle_stored("device-1");
            let (client, _messages) = connect(stored(&server, policy, &store())).await;
            let restored = client.restored();
            let payloads: Vec<_> = restored.iter().map(|restored| restored.message.payload().to_vec()).collect();
            assert_eq!(payloads, [b"0", b"1", b"2"]);
            for restored in restored {
                soon(restored.pending).await.unwrap();
            }
            soon(client.publish("a", "3").qos(Qos::ExactlyOnce).into_future()).await.unwrap();
            assert_eq!(server.publish().await.message.payload(), b"3", "none of the three came twice");
            soon(client.leave()).await;
            assert!(store().load().messages.is_empty());
        }
    }
}

#[tokio::test]
async fn what_never_left_is_sent_in_the_next_life() {
    let place = Place::new();
    for mut store in each_store(&place) {
        let kept = store();
        let mut server = Server::start(Script::default()).await;
        let (client, messages) = connect(stored(&server, Policy::Prefer, &kept)).await;
        let mut events = client.events();
        server.now_follow(Script { refuse: Some(busy()), ..Script::default() });
        server.act(Act::Cut);
        while !matches!(soon(events.next()).await, Some(Event::Disconnected { .. })) {}
        soon(client.publish("a", "x").qos(Qos::AtLeastOnce).mark("after x").keep()).await.unwrap();
        soon(client.leave()).await;
        drop((client, messages, kept));
        let kept = store();
        assert_eq!(&kept.load().mark[..], b"after x");
        server.now_follow(Script::default());
        let (client, _messages) = connect(stored(&server, Policy::Prefer, &kept)).await;
        assert_eq!(server.publish().await.message.payload(), b"x");
        for restored in client.restored() {
            soon(restored.pending).await.unwrap();
        }
        soon(client.leave()).await;
    }
}

fn busy() -> candor_client::Refusal {
    candor_client::Refusal::bare(candor_client::Reason::SERVER_BUSY)
}

#[tokio::test]
async fn a_message_comes_again_in_the_next_life_until_it_was_accepted_and_never_after() {
    for policy in DIALECTS {
        let place = Place::new();
        for mut store in each_store(&place) {
            let mut server = Server::start(Script::default()).await;
            let (client, mut messages) = connect(stored(&server, policy, &store())).await;
            soon(client.subscribe("a").into_future()).await.unwrap();
            server.deliver("a", "accepted", Qos::ExactlyOnce, 1);
            server.deliver("a", "not accepted", Qos::ExactlyOnce, 2);
            let accepted = soon(messages.next()).await.unwrap();
            let not_accepted = soon(messages.next()).await.unwrap();
            accepted.accept_with("one");
            assert_eq!(server.settled().await.0, 1);
            server.act(Act::Cut);
            server.closed().await;
            // A process that is killed settles nothing any more.
            std::mem::forget(not_accepted);
            soon(client.leave()).await;
            drop((client, messages));
            let kept = store();
            assert_eq!(&kept.load().mark[..], b"one");
            let (client, mut messages) = connect(stored(&server, policy, &kept)).await;
            let again = soon(messages.next()).await.unwrap();
            assert_eq!((again.payload(), again.dup()), (&b"not accepted"[..], true));
            again.accept();
            assert_eq!(server.settled().await.0, 2);
            let subscribes = server.all_seen().iter().filter(|seen| matches!(seen, Seen::Subscribe(_))).count();
            assert_eq!(subscribes, 0, "a resumed session has its subscriptions");
            soon(client.leave()).await;
            assert!(kept.load().taken.is_empty());
        }
    }
}

#[tokio::test]
async fn a_session_that_the_server_lost_between_two_lives_is_told_and_renewed() {
    let place = Place::new();
    for mut store in each_store(&place) {
        let mut server = Server::start(Script::judging(|_| None)).await;
        let (client, messages) = connect(stored(&server, Policy::Prefer, &store())).await;
        soon(client.subscribe("a/#").qos(Qos::AtLeastOnce).into_future()).await.unwrap();
        soon(client.publish("a", "once").qos(Qos::AtLeastOnce).keep()).await.unwrap();
        soon(client.publish("a", "exactly").qos(Qos::ExactlyOnce).keep()).await.unwrap();
        server.publish().await;
        server.publish().await;
        vanish(&mut server, client, messages).await;
        server.forget_sessions();
        server.now_follow(Script::default());
        let kept = store();
        let (client, _messages, mut events) = soon(Client::connect_observed(stored(&server, Policy::Prefer, &kept))).await.unwrap();
        loop {
            if let Event::SessionLost { unsettled, resent, .. } = soon(events.next()).await.unwrap() {
                break assert_eq!((unsettled, resent), (1, 1));
            }
        }
        let outcomes: Vec<_> = client.restored().into_iter().map(|restored| restored.pending).collect();
        let mut results = Vec::new();
        for outcome in outcomes {
            results.push(soon(outcome).await.map(drop));
        }
        assert_eq!(results, [Ok(()), Err(PublishError::Lost { taken: false })]);
        let renewed = server.wait_for(|seen| if let Seen::Subscribe(packet) = seen { Some(packet) } else { None }).await;
        assert_eq!(renewed.items[0].filter.as_ref().unwrap().as_str(), "a/#");
        soon(client.leave()).await;
        drop((client, kept));
    }
}

#[tokio::test]
async fn a_store_that_is_new_ends_what_the_server_knew_before() {
    for policy in DIALECTS {
        let mut server = Server::start(Script::default()).await;
        let store: Arc<dyn SessionStore> = Arc::new(InMemory::default());
        let (client, _messages) = connect(stored(&server, policy, &store)).await;
        assert!(server.connect().await.clean_session, "{policy:?}");
        if policy == Policy::Plain {
            assert!(!server.connect().await.clean_session, "one flag of MQTT 3.1.1 means two things");
        }
        soon(client.ping()).await.unwrap();
        soon(client.leave()).await;
        let (_client, _messages) = connect(stored(&server, policy, &store)).await;
        let again = server.connect().await;
        assert!(!again.clean_session, "{policy:?}");
        let named = again.dictionary.value(property::SESSION_INCARNATION);
        assert_eq!(
            named.is_some(),
            policy == Policy::Require,
            "{policy:?}: the life that the store knows is named where CONNECT can say it"
        );
    }
}

#[tokio::test]
async fn another_life_of_the_session_is_not_taken_for_this_one() {
    for policy in [Policy::Require, Policy::Prefer] {
        let store: Arc<dyn SessionStore> = Arc::new(InMemory::default());
        let mut server = Server::start(Script::judging(|_| None)).await;
        let (client, messages) = connect(stored(&server, policy, &store)).await;
        soon(client.publish("a", "x").qos(Qos::ExactlyOnce).keep()).await.unwrap();
        server.publish().await;
        vanish(&mut server, client, messages).await;
        // Somebody started clean under this identifier meanwhile: what is under way there is not what this client sent.
        server.now_follow(Script { incarnation: *b"87654321", ..Script::default() });
        server.all_seen();
        let (client, _messages) = connect(stored(&server, policy, &store)).await;
        for restored in client.restored() {
            assert_eq!(soon(restored.pending).await.map(drop), Err(PublishError::Lost { taken: false }));
        }
        soon(client.publish("a", "y").qos(Qos::ExactlyOnce).into_future()).await.unwrap();
        let cleans = [server.connect().await.clean_session, server.connect().await.clean_session];
        assert_eq!(cleans, [false, true], "{policy:?}");
        assert_eq!(server.publish().await.message.payload(), b"y");
    }
}

/// A store that keeps nothing before it is told to, and fails where it is told so.
#[derive(Debug)]
struct Slow {
    asked: Arc<Notify>,
    answers: Mutex<mpsc::Receiver<Result<(), StoreError>>>,
}

impl SessionStore for Slow {
    fn load(&self) -> StoredSession {
        StoredSession::default()
    }

    fn keep(&self, records: &[Record]) -> Result<(), StoreError> {
        if records.iter().any(|record| matches!(record, Record::Accepted { .. } | Record::Taken { .. })) {
            self.asked.notify_one();
            return self.answers.lock().unwrap().recv().unwrap_or(Err(full()));
        }
        Ok(())
    }
}

fn full() -> StoreError {
    StoreError::Io { file: "session".into(), what: "write", cause: "no space left".to_owned() }
}

type Answers = mpsc::Sender<Result<(), StoreError>>;

fn slow() -> (Arc<Notify>, Answers, Arc<dyn SessionStore>) {
    let (answer, answers) = mpsc::channel();
    let asked = Arc::new(Notify::new());
    (Arc::clone(&asked), answer, Arc::new(Slow { asked, answers: Mutex::new(answers) }))
}

#[tokio::test]
async fn nothing_leaves_before_what_it_depends_on_is_kept() {
    for policy in DIALECTS {
        let (asked, answer, store) = slow();
        let mut server = Server::start(Script::default()).await;
        let (client, mut messages) = connect(stored(&server, policy, &store)).await;
        soon(client.subscribe("a").into_future()).await.unwrap();
        server.all_seen();
        let pending = soon(client.publish("a", "x").qos(Qos::ExactlyOnce).send()).await.unwrap();
        soon(asked.notified()).await;
        // The server's answer to this comes behind all that the client had sent by then.
        server.deliver("a", "y", Qos::ExactlyOnce, 1);
        let incoming = soon(messages.next()).await.unwrap();
        assert!(!server.all_seen().iter().any(|seen| matches!(seen, Seen::Publish(_))), "{policy:?}: PUBLISH left too early");
        answer.send(Ok(())).unwrap();
        soon(pending).await.unwrap();
        incoming.accept();
        soon(asked.notified()).await;
        assert!(!server.all_seen().iter().any(|seen| matches!(seen, Seen::Settled { .. })), "{policy:?}: PUBREC left too early");
        answer.send(Ok(())).unwrap();
        assert_eq!(server.settled().await.0, 1);
    }
}

#[tokio::test]
async fn a_store_that_fails_ends_the_client_with_its_error_and_nothing_unkept_has_left() {
    let (_asked, answer, store) = slow();
    let mut server = Server::start(Script::default()).await;
    let (client, _messages) = connect(stored(&server, Policy::Prefer, &store)).await;
    answer.send(Err(full())).unwrap();
    let kept = soon(client.publish("a", "x").qos(Qos::ExactlyOnce).keep()).await;
    assert_eq!(kept.map(drop), Err(PublishError::Ended(Error::Store(full()))));
    assert_eq!(soon(client.ended()).await, Error::Store(full()));
    server.closed().await;
    assert!(!server.all_seen().iter().any(|seen| matches!(seen, Seen::Publish(_))));
}

#[tokio::test]
async fn a_session_belongs_to_one_client_identifier() {
    let server = Server::start(Script::default()).await;
    let store: Arc<dyn SessionStore> = Arc::new(InMemory::default());
    let (client, _messages) = connect(stored(&server, Policy::Prefer, &store)).await;
    soon(client.leave()).await;
    let error = soon(Client::connect(stored(&server, Policy::Prefer, &store).client_id("other"))).await.map(drop).unwrap_err();
    let expected = StoreError::OtherClient { kept: "device-1".to_owned(), asked: "other".to_owned() };
    assert_eq!(error, Error::Store(expected));
    let error = soon(Client::connect(stored(&server, Policy::Prefer, &store).session_expiry_s(0))).await.map(drop).unwrap_err();
    assert!(matches!(error, Error::Misuse(_)), "{error}");
}
