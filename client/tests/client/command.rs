//! The `candor` command line, run as a user runs it.

use crate::support::{Act, Script, Server, soon};
use candor_client::protocol::codec::dictionary::MapBuilder;
use candor_client::protocol::packet::topic::TopicName;
use candor_client::protocol::packet::{Message, property};
use candor_client::protocol::session::{Cause, Delivery, Outcome};
use candor_client::{Dialect, Durability, Problem, Qos, Reason, Refusal, Retry};
use serde_json::{Value, json};
use std::process::Stdio;
use std::sync::Arc;
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};

/// What a run of the command left behind.
pub struct Ran {
    pub exit: i32,
    pub out: String,
    pub error: String,
}

impl Ran {
    /// Each line of standard output as JSON.
    pub fn json(&self) -> Vec<Value> {
        self.out.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"))).collect()
    }
}

pub fn spawn(arguments: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_candor"));
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command.spawn().unwrap()
}

pub async fn finish(child: Child) -> Ran {
    let output = soon(child.wait_with_output()).await.unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ran { exit: output.status.code().unwrap_or(-1), out: text(output.stdout), error: text(output.stderr) }
}

pub async fn candor(arguments: &[&str]) -> Ran {
    with_input(arguments, "").await
}

async fn with_input(arguments: &[&str], input: &str) -> Ran {
    let mut child = spawn(arguments);
    let mut stdin = child.stdin.take().unwrap();
    // A command that reads nothing may have ended already.
    let _ = stdin.write_all(input.as_bytes()).await;
    drop(stdin);
    finish(child).await
}

pub fn refusal() -> Refusal {
    let problem = Problem::titled("no rule allows it").rule("rules.toml:3").retry(Retry::Changed).missing_scope("publish:a/b");
    Refusal::new(Reason::NOT_AUTHORIZED, problem)
}

fn port(server: &Server) -> String {
    server.address.port().to_string()
}

#[tokio::test]
async fn pub_sends_one_message_and_says_nothing() {
    let mut server = Server::start(Script::default()).await;
    let ran = candor(&["pub", "-h", "localhost", "-p", &port(&server), "-t", "a/b", "-m", "hello", "-q", "1", "-r"]).await;
    assert_eq!((ran.exit, ran.out.as_str(), ran.error.as_str()), (0, "", ""));
    let publish = server.publish().await;
    assert_eq!((publish.message.topic_str(), publish.message.payload()), ("a/b", &b"hello"[..]));
    assert_eq!((publish.qos, publish.retain), (Qos::AtLeastOnce, true));
    assert!(matches!(server.closed().await, Cause::PeerLeft { reason: Reason::SUCCESS, .. }));
}

#[tokio::test]
async fn pub_prints_receipts_as_json_where_a_program_reads() {
    let server = Server::start(Script::judging(|_| Some(Outcome::kept(Durability::Memory)))).await;
    let ran = candor(&["pub", "-L", &server.url(), "-t", "a", "-m", "x", "-q", "2", "--prop", "receipt-request=true", "--json"]).await;
    assert_eq!(ran.exit, 0, "{}", ran.error);
    let expected = json!({
        "topic": "a", "qos": 2, "reason": 0, "reason_name": "success", "durability": "memory", "dialect": "extended", "stripped": false,
    });
    assert_eq!(ran.json(), [expected]);
}

#[tokio::test]
async fn a_refused_message_is_readable_at_a_glance_and_has_exit_state_3() {
    let server = Server::start(Script::judging(|_| Some(Outcome::refused(refusal())))).await;
    let arguments = ["pub", "-L", &server.url(), "-t", "a/b", "-m", "x", "-q", "1"];
    let ran = candor(&arguments).await;
    assert_eq!((ran.exit, ran.out.as_str()), (3, ""));
    insta::assert_snapshot!(ran.error, @r"
    candor: the server refused the message
      reason   not authorized (0x87)
      title    no rule allows it
      rule     rules.toml:3
      retry    can help once something else has changed
      missing  publish:a/b
    ");
    let ran = candor(&[&arguments[..], &["--json"]].concat()).await;
    let object = &ran.json()[0];
    assert_eq!((ran.exit, &object["error"], &object["exit"]), (3, &json!("refused"), &json!(3)));
    assert_eq!((&object["reason"], &object["rule"], &object["retry"]), (&json!(0x87), &json!("rules.toml:3"), &json!("changed")));
}

#[tokio::test]
async fn a_refused_connection_has_exit_state_3_with_the_reason() {
    let server = Server::start(Script::refusing(refusal())).await;
    for command in ["pub", "sub"] {
        let payload: &[&str] = if command == "pub" { &["-m", "x"] } else { &[] };
        let ran = candor(&[&[command, "-L", &server.url(), "-t", "a"], payload].concat()).await;
        assert_eq!(ran.exit, 3, "{}", ran.error);
        assert!(ran.error.starts_with("candor: the server refused the connection\n  reason   not authorized (0x87)\n"), "{}", ran.error);
        assert!(ran.error.contains("rule     rules.toml:3"), "{}", ran.error);
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_has_exit_state_4() {
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port().to_string();
    let ran = candor(&["pub", "-h", "127.0.0.1", "-p", &free, "-t", "a", "-m", "x"]).await;
    assert_eq!(ran.exit, 4);
    assert!(ran.error.contains(&format!("mqtt://127.0.0.1:{free}: no connection")), "{}", ran.error);
}

#[tokio::test]
async fn a_guarantee_that_is_not_there_has_exit_state_5_and_names_the_nearest() {
    let mut script = Script::default();
    script.policy.profile.durability = Durability::Memory;
    let server = Server::start(script).await;
    let ran = candor(&["pub", "-L", &server.url(), "-t", "a", "-m", "x", "--require", "durability=disk"]).await;
    assert_eq!(ran.exit, 5, "{}", ran.error);
    assert!(ran.error.contains("required disk, available memory"), "{}", ran.error);
    assert!(ran.error.contains("nearest  durability memory, session durability none"), "{}", ran.error);
    let old = Server::start(Script::old()).await;
    for wish in [&["--dialect", "extended"][..], &["--require", "maximum-qos=1"], &["-q", "1", "--prop", "minimum-durability=memory"]] {
        let ran = candor(&[&["pub", "-L", &old.url(), "-t", "a", "-m", "x"], wish].concat()).await;
        assert_eq!(ran.exit, 5, "{wish:?}: {}", ran.error);
    }
}

#[tokio::test]
async fn a_connection_that_is_lost_later_has_exit_state_6() {
    for version in ["auto", "extended", "3.1.1"] {
        let mut server = Server::start(Script::judging(|_| None)).await;
        let child = spawn(&["pub", "-L", &server.url(), "-t", "a", "-m", "x", "-q", "1", "-V", version]);
        server.publish().await;
        server.act(Act::Cut);
        let ran = finish(child).await;
        assert_eq!((ran.exit, ran.error.lines().count()), (6, 1), "{version}: it is told once: {}", ran.error);
    }
}

#[tokio::test]
async fn a_time_that_is_up_has_exit_state_7() {
    let server = Server::start(Script::judging(|_| None)).await;
    let url = server.url();
    let publishing = ["pub", "-L", &url, "-t", "a", "-m", "x", "-q", "1", "-W", "1"];
    let subscribing = ["sub", "-L", &url, "-t", "a", "-W", "1"];
    let (pub_ran, sub_ran) = tokio::join!(candor(&publishing), candor(&subscribing));
    assert_eq!((pub_ran.exit, sub_ran.exit), (7, 7), "{} {}", pub_ran.error, sub_ran.error);
}

#[tokio::test]
async fn wrong_usage_has_exit_state_2_and_says_what_is_allowed() {
    let cases: [(&[&str], &str); 14] = [
        (&["pub", "-m", "x"], "--topic <TOPIC>"),
        (&["pub", "-t", "a"], "--message <TEXT>"),
        (&["pub", "-t", "a", "-m", "x", "-q", "3"], "allowed: 0, 1, 2"),
        (&["pub", "-t", "a", "-m", "x", "-V", "5"], "allowed: auto, extended, 3.1.1, 3.1"),
        (&["pub", "-t", "a", "-m", "x", "--prop", "node=1"], "allowed: payload-format-indicator"),
        (&["pub", "-t", "a", "-m", "x", "--prop", "contnet-type=text/plain"], "did you mean `content-type`?"),
        (&["pub", "-t", "a", "-m", "x", "--prop", "unit=C"], "a name of your own is written `--prop text:unit=C`"),
        (&["pub", "-t", "a", "-m", "x", "--experiment", "x-priority:x-priority=-1/number"], "`x-priority` is known"),
        (&["pub", "-t", "a", "-m", "x", "--experiment", "x-hops:x-hops=3/number"], "keys below 0"),
        (&["pub", "-t", "a", "-m", "x", "--require", "speed=9"], "allowed: durability"),
        (&["pub", "-t", "a", "-m", "x", "--require", "durability"], "KEY=VALUE"),
        (&["pub", "-t", "a", "-m", "x", "-L", "http://h"], "mqtt://, mqtts://, ws:// or wss://"),
        (&["pub", "-t", "a", "-m", "x", "-P", "secret"], "MQTT-3.1.2-22"),
        (&["sub", "-t", "a/#/b"], "`#` must be the whole of the last level"),
    ];
    let server = Server::start(Script::default()).await;
    for (arguments, allowed) in cases {
        let place: &[&str] = if arguments.contains(&"-L") { &[] } else { &["-p", &port(&server)] };
        let ran = candor(&[arguments, place].concat()).await;
        assert_eq!(ran.exit, 2, "{arguments:?}: {}", ran.error);
        assert!(ran.error.contains(allowed), "{arguments:?}: {}", ran.error);
    }
}

#[tokio::test]
async fn help_is_help_and_h_is_the_host() {
    for command in ["pub", "sub", "probe"] {
        let ran = candor(&[command, "--help"]).await;
        assert_eq!(ran.exit, 0);
        assert!(ran.out.contains("-h, --host <HOST>"), "{}", ran.out);
    }
    let ran = candor(&["--help"]).await;
    assert!(ran.exit == 0 && ran.out.contains("3  refused by the peer"), "{}", ran.out);
    let ran = candor(&["--version"]).await;
    assert_eq!((ran.exit, ran.out.trim()), (0, concat!("candor ", env!("CARGO_PKG_VERSION"))));
}

#[tokio::test]
async fn pub_l_sends_each_line_in_order() {
    let mut server = Server::start(Script::default()).await;
    let input: String = (0..1000).map(|n| format!("line {n}\n")).collect();
    let ran = with_input(&["pub", "-L", &server.url(), "-t", "a", "-l", "-q", "1"], &(input + "\nlast")).await;
    assert_eq!(ran.exit, 0, "{}", ran.error);
    for n in 0..1000 {
        assert_eq!(server.publish().await.message.payload(), format!("line {n}").as_bytes());
    }
    assert_eq!(server.publish().await.message.payload(), b"");
    assert_eq!(server.publish().await.message.payload(), b"last");
}

#[tokio::test]
async fn a_refused_line_does_not_stop_the_others() {
    let mut server = Server::start(Script::judging(|publish| {
        let bad = publish.message.payload() == b"2";
        Some(if bad { Outcome::refused(refusal()) } else { Outcome::accepted() })
    }))
    .await;
    let ran = with_input(&["pub", "-L", &server.url(), "-t", "a", "-l", "-q", "1", "--json"], "1\n2\n3\n").await;
    assert_eq!(ran.exit, 3, "{}", ran.error);
    let results: Vec<_> = ran.json().iter().map(|line| line["reason"].clone()).collect();
    assert_eq!(results, [json!(0), json!(0), json!(0x87)]);
    for expected in ["1", "2", "3"] {
        assert_eq!(server.publish().await.message.payload(), expected.as_bytes());
    }
}

#[tokio::test]
async fn a_payload_may_be_empty_a_file_or_all_of_standard_input() {
    let mut server = Server::start(Script::default()).await;
    let path = std::env::temp_dir().join(format!("candor-test-payload-{}", std::process::id()));
    std::fs::write(&path, b"from a file\n").unwrap();
    let file = path.to_str().unwrap();
    let cases: [(&[&str], &[u8]); 3] = [(&["-n"], b""), (&["-f", file], b"from a file\n"), (&["-s"], b"one\ntwo\n")];
    for (arguments, expected) in cases {
        let ran = with_input(&[&["pub", "-L", &server.url(), "-t", "a"], arguments].concat(), "one\ntwo\n").await;
        assert_eq!(ran.exit, 0, "{}", ran.error);
        assert_eq!(server.publish().await.message.payload(), expected);
    }
    std::fs::remove_file(&path).unwrap();
}

#[tokio::test]
async fn flags_end_up_in_connect() {
    let mut server = Server::start(Script::default()).await;
    let arguments = [
        "pub",
        "-p",
        &port(&server),
        "-t",
        "a",
        "-m",
        "x",
        "-i",
        "me",
        "-u",
        "user",
        "-P",
        "secret",
        "-k",
        "7",
        "-c",
        "-V",
        "mqttv311",
        "--will-topic",
        "gone",
        "--will-payload",
        "w",
        "--will-qos",
        "1",
        "--will-retain",
    ];
    assert_eq!(candor(&arguments).await.exit, 0);
    let connect = server.connect().await;
    assert_eq!((connect.client_id.as_str(), connect.keep_alive_s, connect.clean_session), ("me", 7, false));
    assert_eq!((connect.user_name.as_deref(), connect.password.as_deref()), (Some("user"), Some(&b"secret"[..])));
    assert_eq!(connect.dialect, Dialect::V311);
    let will = connect.will.unwrap();
    assert_eq!((will.message.topic_str(), will.message.payload(), will.qos, will.retain), ("gone", &b"w"[..], Qos::AtLeastOnce, true));
}

#[tokio::test]
async fn properties_travel_by_name_and_what_an_old_server_cannot_carry_is_told() {
    let mut server = Server::start(Script::default()).await;
    let arguments = |url: &str| {
        let words = ["pub", "-L", url, "-t", "a", "-m", "x", "--prop", "content-type=text/plain", "--prop", "text:unit=C"];
        words.map(str::to_owned).to_vec()
    };
    let run = async |url: &str| {
        let words = arguments(url);
        candor(&words.iter().map(String::as_str).collect::<Vec<_>>()).await
    };
    assert_eq!(run(&server.url()).await.exit, 0);
    let map = server.publish().await.message.dictionary();
    assert_eq!(map.value(property::CONTENT_TYPE).as_deref(), Some("text/plain"));
    assert!(map.get_text("unit").is_some());
    let old = Server::start(Script::old()).await;
    let ran = run(&old.url()).await;
    assert_eq!(ran.exit, 0);
    assert!(ran.error.contains("the properties were not sent"), "{}", ran.error);
}

/// A subscriber that has been granted its filter.
pub async fn subscriber(server: &mut Server, arguments: &[&str]) -> Child {
    let child = spawn(&[&["sub", "-L", &server.url()], arguments].concat());
    server.wait_for(|seen| matches!(seen, crate::support::Seen::Subscribe(_)).then_some(())).await;
    child
}

#[tokio::test]
async fn sub_prints_what_comes_and_accepts_it_then() {
    let mut server = Server::start(Script::default()).await;
    let child = subscriber(&mut server, &["-t", "a/#", "-q", "2", "-C", "3", "-v"]).await;
    for (token, qos) in Qos::ALL.into_iter().enumerate() {
        server.deliver("a/b", &format!("m{token}"), qos, token as u64);
    }
    let ran = finish(child).await;
    assert_eq!((ran.exit, ran.out.as_str(), ran.error.as_str()), (0, "a/b m0\na/b m1\na/b m2\n", ""));
    assert_eq!(server.settled().await, (1, Outcome::accepted()));
}

#[tokio::test]
async fn sub_prints_objects_with_all_that_is_known_where_a_program_reads() {
    let mut server = Server::start(Script::default()).await;
    let child = subscriber(&mut server, &["-t", "a", "-C", "2", "--json"]).await;
    let mut map = MapBuilder::new();
    map.set(property::CONTENT_TYPE, &"text/plain".to_owned());
    let hop = MapBuilder::new().set(property::PUBLISHER, &"alice".to_owned()).finish();
    let message = Message::new(&TopicName::new("a").unwrap(), &map.finish(), b"x");
    server.act(Act::Deliver(Delivery { message, qos: Qos::AtLeastOnce, retain: true, hop: hop.clone() }, 0));
    let message = Message::new(&TopicName::new("a").unwrap(), &MapBuilder::new().finish(), &[0xFF, 0]);
    server.act(Act::Deliver(Delivery { message, qos: Qos::AtMostOnce, retain: false, hop: MapBuilder::new().finish() }, 0));
    let ran = finish(child).await;
    let first = json!({
        "topic": "a", "qos": 1, "retain": true, "dup": false, "payload": "x",
        "properties": { "content-type": "text/plain", "publisher": "alice" },
    });
    let second = json!({ "topic": "a", "qos": 0, "retain": false, "dup": false, "payload_base64": "/wA=" });
    assert_eq!(ran.json(), [first, second]);
}

#[tokio::test]
async fn sub_leaves_out_line_ends_and_retained_messages_where_told() {
    let mut server = Server::start(Script::old()).await;
    let child = subscriber(&mut server, &["-t", "a", "-C", "2", "-N", "-R"]).await;
    for (payload, retain) in [("old", true), ("one", false), ("two", false)] {
        let message = Message::publish("a", payload).unwrap();
        let delivery = Delivery { message, qos: Qos::AtMostOnce, retain, hop: MapBuilder::new().finish() };
        server.act(Act::Deliver(delivery, 0));
    }
    let ran = finish(child).await;
    assert_eq!((ran.exit, ran.out.as_str()), (0, "onetwo"));
}

#[tokio::test]
async fn a_refused_filter_is_named_and_has_exit_state_3() {
    let grant = Arc::new(|at: usize, _: &candor_client::protocol::packet::SubscribeItem| match at {
        0 => Reason::GRANTED_QOS_1,
        _ => Reason::NOT_AUTHORIZED,
    });
    let server = Server::start(Script { grant, ..Script::default() }).await;
    let ran = candor(&["sub", "-L", &server.url(), "-t", "a", "-t", "secret", "-q", "1"]).await;
    assert_eq!(ran.exit, 3);
    assert!(ran.error.starts_with("candor: the server refused the subscription to `secret`\n  reason   not authorized"), "{}", ran.error);
}

#[tokio::test]
async fn a_lower_grant_is_told() {
    let server = Server::start(Script { grant: Arc::new(|_, _| Reason::SUCCESS), ..Script::default() }).await;
    let ran = candor(&["sub", "-L", &server.url(), "-t", "a", "-q", "2", "-W", "1"]).await;
    assert!(ran.error.contains("`a` is granted at QoS 0, less than asked for"), "{}", ran.error);
}

#[tokio::test]
async fn sub_comes_back_after_a_lost_connection_and_says_so() {
    let mut server = Server::start(Script::default()).await;
    let child = subscriber(&mut server, &["-t", "a", "-C", "1"]).await;
    server.act(Act::Cut);
    server.wait_for(|seen| matches!(seen, crate::support::Seen::Subscribe(_)).then_some(())).await;
    server.deliver("a", "x", Qos::AtMostOnce, 0);
    let ran = finish(child).await;
    assert_eq!((ran.exit, ran.out.as_str()), (0, "x\n"));
    assert!(ran.error.contains("trying again in"), "{}", ran.error);
}

#[tokio::test]
async fn sub_ends_in_order_when_it_is_interrupted() {
    let mut server = Server::start(Script::default()).await;
    let child = subscriber(&mut server, &["-t", "a"]).await;
    let id = child.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-INT", &id]).status().await.unwrap().success());
    assert_eq!(finish(child).await.exit, 0);
    assert!(matches!(server.closed().await, Cause::PeerLeft { reason: Reason::SUCCESS, .. }));
}

#[tokio::test]
async fn events_are_told_on_request() {
    let server = Server::start(Script::old()).await;
    let ran = candor(&["pub", "-L", &server.url(), "-t", "a", "-m", "x", "--events"]).await;
    assert!(ran.error.contains("connected as `candor-") && ran.error.contains("the server does not know the extension"), "{}", ran.error);
    let ran = candor(&["pub", "-L", &server.url(), "-t", "a", "-m", "x", "--events", "--json"]).await;
    let events: Vec<Value> = ran.error.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let names: Vec<_> = events.iter().map(|event| event["event"].as_str().unwrap()).collect();
    assert_eq!(names, ["connected", "downgraded", "disconnected"]);
}

#[tokio::test]
async fn a_state_file_that_is_no_ordinary_file_is_refused_and_left_alone() {
    let place = crate::support::Place::new();
    let (directory, pipe) = (place.file("directory"), place.file("pipe"));
    std::fs::create_dir(&directory).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for path in [directory.as_path(), &pipe, "/dev/null".as_ref()] {
        let path = path.to_str().unwrap();
        for command in [&["pub", "-t", "a", "-m", "x", "-q", "1"][..], &["sub", "-t", "a"]] {
            // Nothing listens there, and nobody asks.
            let ran = candor(&[command, &["-p", "1", "-i", "me", "--state", path]].concat()).await;
            let why = format!("{path}: it is no ordinary file; name one, or a path where there is nothing");
            assert!(ran.exit == 1 && ran.error.contains(&why), "{command:?} {path}: {} {}", ran.exit, ran.error);
        }
        assert!(!std::path::Path::new(&format!("{path}.lock")).exists(), "something was put beside {path}");
    }
    assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 0);
}

#[tokio::test]
async fn explain_reads_arguments_files_and_standard_input() {
    let ran = candor(&["explain", "c0", "00"]).await;
    assert!(ran.exit == 0 && ran.out.contains("PINGREQ"), "{} {}", ran.out, ran.error);
    let ran = with_input(&["explain", "--json"], "d0 00").await;
    let object: Value = serde_json::from_str(&ran.out).unwrap();
    assert!(ran.exit == 0 && object.to_string().contains("PINGRESP"), "{}", ran.out);
    let place = crate::support::Place::new();
    std::fs::write(place.file("packets"), [0xD0, 0]).unwrap();
    let ran = candor(&["explain", "-f", place.file("packets").to_str().unwrap()]).await;
    assert!(ran.exit == 0 && ran.out.contains("PINGRESP"), "{} {}", ran.out, ran.error);
    let ran = candor(&["explain", "c1 00"]).await;
    assert_eq!((ran.exit, ran.error.as_str()), (1, ""));
    let ran = candor(&["explain", "xyz"]).await;
    assert!(ran.exit == 2 && ran.error.contains("allowed are the digits"), "{}", ran.error);
}
