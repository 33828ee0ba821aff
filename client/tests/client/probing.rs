//! `candor probe`, and experiments on the command line.

use crate::command::{candor, finish, refusal, subscriber};
use crate::support::{Act, Script, Seen, Server};
use candor_client::protocol::codec::dictionary::Dictionary;
use candor_client::protocol::extension::priority::Priority;
use candor_client::protocol::extension::{Extension, Registry};
use candor_client::protocol::packet::Message;
use candor_client::protocol::packet::kind::{Kind, Kinds};
use candor_client::protocol::packet::property::{self, Key, KeyInfo, KeyValue, Range, Writer};
use candor_client::protocol::session::{Delivery, Extended, ServerPolicy};
use candor_client::{Durability, Qos};
use serde_json::json;
use std::sync::Arc;

#[tokio::test]
async fn probe_says_what_a_server_agrees_to_and_declares() {
    let mut script = Script::default();
    script.policy.profile.durability = Durability::Memory;
    script.policy.packet_size_max = 1000;
    let server = Server::start(script).await;
    let ran = candor(&["probe", &server.url()]).await;
    assert_eq!(ran.exit, 0, "{}", ran.error);
    let expected = ["extended CONNECT       MQTT extended", "dialect      extended", "durability             memory", "1000 bytes"];
    assert!(expected.iter().all(|line| ran.out.contains(line)), "{}", ran.out);
    let object = &candor(&["probe", &server.url(), "--json"]).await.json()[0];
    assert_eq!((&object["dialect"], &object["node"], &object["declares_profile"]), (&json!("extended"), &json!("test"), &json!(true)));
    assert_eq!((&object["profile"]["durability"], &object["packet_size_max"]), (&json!("memory"), &json!(1000)));
    let doors: Vec<_> = object["doors"].as_array().unwrap().iter().map(|door| door["dialect"].clone()).collect();
    assert_eq!(doors, [json!("extended"), json!("extended"), json!("3.1.1"), json!("3.1")]);
}

#[tokio::test]
async fn probe_says_that_an_old_server_declares_nothing() {
    let server = Server::start(Script::old()).await;
    let ran = candor(&["probe", &server.url()]).await;
    assert_eq!(ran.exit, 0, "{}", ran.error);
    assert!(ran.out.contains("this server declares nothing"), "{}", ran.out);
    let object = &candor(&["probe", &server.url(), "--json"]).await.json()[0];
    assert_eq!((&object["dialect"], &object["declares_profile"]), (&json!("3.1.1"), &json!(false)));
    assert!(object.get("profile").is_none() && object.get("packet_size_max").is_none(), "what nobody said is not there: {object}");
}

#[tokio::test]
async fn probe_says_why_no_door_opens() {
    let server = Server::start(Script::refusing(refusal())).await;
    let ran = candor(&["probe", &server.url()]).await;
    assert_eq!(ran.exit, 3);
    assert!(ran.error.contains("rule     rules.toml:3"), "{}", ran.error);
}

#[tokio::test]
async fn probe_is_refused_once_and_leaves_the_other_doors_alone() {
    let connections = |server: &mut Server| server.all_seen().iter().filter(|seen| matches!(seen, Seen::Arrived)).count();
    let mut closed = Server::start(Script::refusing(refusal())).await;
    assert_eq!(candor(&["probe", &closed.url()]).await.exit, 3);
    assert_eq!(connections(&mut closed), 1);
    // It opens to the extension alone.
    let policy = ServerPolicy { extended: Extended::Required, ..ServerPolicy::default() };
    let mut server = Server::start(Script { policy, ..Script::default() }).await;
    let ran = candor(&["probe", &server.url()]).await;
    assert_eq!(ran.exit, 0, "{}", ran.error);
    assert!(ran.out.contains("plain CONNECT (3.1)    not tried: who was refused once"), "{}", ran.out);
    assert_eq!(connections(&mut server), 3, "one was let in, one refused, and one asks how the server is");
    let object = &candor(&["probe", &server.url(), "--json"]).await.json()[0];
    assert!(object["doors"][3]["not_tried"].is_string() && object["doors"][1]["error"].is_string(), "{object}");
}

#[tokio::test]
async fn probe_offers_experiments_and_says_which_are_in_force() {
    let mut script = Script::default();
    script.policy.registry.add(Arc::new(Priority)).unwrap();
    let mut server = Server::start(script).await;
    let ran = candor(&["probe", &server.url(), "--experiment", "x-hops:x-hops=-3/number"]).await;
    assert_eq!(ran.exit, 0, "{}", ran.error);
    let lines = ["x-hops                 not run by the server", "x-priority             in force"];
    assert!(lines.iter().all(|line| ran.out.contains(line)), "{}", ran.out);
    let offered = server.connect().await.dictionary.value(property::EXTENSIONS);
    assert_eq!(offered, Some(vec!["x-hops".to_owned(), "x-priority".to_owned()]));
    let object = &candor(&["probe", &server.url(), "--json"]).await.json()[0];
    assert_eq!((&object["experiments_offered"], &object["experiments"]), (&json!(["x-priority"]), &json!(["x-priority"])));
}

#[tokio::test]
async fn probe_says_what_tls_agreed() {
    use candor_client::protocol::dialect::{ALPN, ALPN_PLAIN};
    let transport = crate::support::Transport::tls(&[ALPN, ALPN_PLAIN]);
    let server = Server::over(transport, vec![Script::default()]).await;
    let file = server.certificates.as_ref().unwrap().path();
    let ran = candor(&["probe", &server.url(), "--cafile", file.to_str().unwrap(), "--json"]).await;
    assert_eq!(ran.exit, 0, "{}", ran.error);
    let object = &ran.json()[0];
    assert_eq!(
        (&object["tls"]["version"], &object["tls"]["alpn"], &object["tls"]["verified"]),
        (&json!("1.3"), &json!(ALPN), &json!(true))
    );
    assert_eq!(object["tls_resumption"], json!(true));
}

const HOPS: Key<u64> = Key::new("x-hops", -3);
const KEYS: &[KeyInfo] = &[KeyInfo {
    number: HOPS.number,
    name: HOPS.name,
    value: <u64 as KeyValue>::TYPE,
    packets: Kinds::of(&[Kind::Publish]),
    writer: Writer::Both,
    range: Range::Any,
    meaning: "Servers passed so far.",
}];

/// An experiment that `candor` does not know.
#[derive(Debug)]
struct Hops;

impl Extension for Hops {
    fn name(&self) -> &'static str {
        "x-hops"
    }

    fn keys(&self) -> &'static [KeyInfo] {
        KEYS
    }
}

#[tokio::test]
async fn an_experiment_that_is_declared_can_be_said_and_is_shown_by_name() {
    let mut registry = Registry::default();
    registry.add(Arc::new(Hops)).unwrap();
    let mut script = Script::default();
    script.policy.registry = registry;
    let mut server = Server::start(script).await;
    let (url, declared) = (server.url(), "x-hops:x-hops=-3/number");
    let publish = ["pub", "-L", &url, "-t", "a", "-m", "x", "-q", "1", "--experiment", declared, "--prop"];
    let ran = candor(&[&publish[..], &["x-hops=7"]].concat()).await;
    assert_eq!(ran.exit, 0, "{}", ran.error);
    assert_eq!(server.publish().await.dictionary.value(HOPS), Some(7));
    let ran = candor(&[&publish[..], &["x-hops=many"]].concat()).await;
    assert!(ran.exit == 2 && ran.error.contains("`x-hops` takes a whole number, not `many`"), "{}", ran.error);
    let ran = candor(&[&publish[..], &["x-hop=7"]].concat()).await;
    assert!(ran.exit == 2 && ran.error.contains("did you mean `x-hops`?"), "{}", ran.error);
    let child = subscriber(&mut server, &["-t", "a", "-C", "1", "--json", "--experiment", declared]).await;
    let message = Message::publish("a", "x").unwrap();
    server.act(Act::Deliver(Delivery { message, qos: Qos::AtMostOnce, retain: false, hop: Dictionary::with(HOPS, &8) }, 0));
    assert_eq!(finish(child).await.json()[0]["properties"], json!({ "x-hops": "8" }));
}
