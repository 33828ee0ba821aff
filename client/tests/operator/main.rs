//! The commands that ask a running broker: `why`, `may-i` and `probe`, against a broker in this process.

// A test binary has no users outside, and its helpers may fail as its tests do.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use candor_broker::broker::{Broker, ListenerSetup, Setup};
use candor_broker::shard::{Admission, Answer, Authenticate, ListenerSettings, Peer, Rights, Settings};
use candor_broker::transport::bind::BindOptions;
use candor_client::protocol::packet::{Connect, TopicName};
use candor_client::protocol::session::ServerPolicy;
use candor_client::{Client, Dialect, Options, Policy, Problem, Qos, Question, Reason, Refusal, RequestError, Retry, TopicFilter};
use serde_json::Value;
use std::process::{Command, Output};
use std::sync::Arc;

/// `deny/` is not published to, and only `operator` asks an operator's questions.
#[derive(Debug)]
struct Who(Arc<str>);

fn denied(scope: String) -> Refusal {
    let problem = Problem::titled("a rule denies it").rule("rules.toml:3").missing_scope(scope).retry(Retry::Changed);
    Refusal::new(Reason::NOT_AUTHORIZED, problem)
}

impl Rights for Who {
    fn publish(&self, topic: &[u8], _qos: Qos, _retain: bool) -> Result<(), Refusal> {
        let topic = String::from_utf8_lossy(topic);
        if topic.starts_with("deny/") { Err(denied(format!("publish:{topic}"))) } else { Ok(()) }
    }

    fn subscribe(&self, filter: &TopicFilter) -> Result<Qos, Refusal> {
        let is_question = filter.pattern().starts_with("$operator");
        if is_question && &*self.0 != "operator" { Err(denied(format!("subscribe:{filter}"))) } else { Ok(Qos::AtLeastOnce) }
    }
}

#[derive(Debug)]
struct Names;

impl Authenticate for Names {
    fn authenticate(&self, connect: &Connect, _client_id: &Arc<str>, _peer: &Peer) -> Answer {
        let principal: Arc<str> = connect.user_name.clone().unwrap_or_default().into();
        Answer::Now(Ok(Admission { principal: Arc::clone(&principal), rights: Arc::new(Who(principal)) }))
    }
}

fn start() -> (Broker, String) {
    let policy = Arc::new(ServerPolicy::default());
    let settings = ListenerSettings { name: "test".into(), policy, acknowledges_refused: false, authenticate: Arc::new(Names) };
    let url = "mqtt://127.0.0.1:0".parse().unwrap();
    let listener = ListenerSetup { url, settings: Arc::new(settings), tls: None, bind: BindOptions::default() };
    let broker = Broker::start(Setup { listeners: vec![listener], settings: Settings { shards: 3, ..Settings::default() } }).unwrap();
    let url = broker.urls()[0].clone();
    (broker, url)
}

fn candor(command: &str, url: &str, user: &str, arguments: &[&str]) -> Output {
    let mut run = Command::new(env!("CARGO_BIN_EXE_candor"));
    run.arg(command).args(["-L", &url.replace("://", &format!("://{user}@"))]).args(arguments).output().unwrap()
}

fn lines(output: &Output) -> Vec<String> {
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

fn json(output: &Output) -> Vec<Value> {
    lines(output).iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn why_tells_the_story_of_a_client() {
    let (broker, url) = start();
    for dialect in ["extended", "3.1.1"] {
        let id = format!("device/{dialect}+#%");
        candor("pub", &url, "somebody", &["-i", &id, "-V", dialect, "-t", "deny/a", "-m", "x", "-q", "1"]);
        let ran = candor("why", &url, "operator", &[&id]);
        let told = lines(&ran);
        assert_eq!((ran.status.code(), told.len()), (Some(0), 3), "{ran:?}");
        assert!(told[0].contains("Z  connected ") && told[0].contains(" from 127.0.0.1, session new"), "{told:?}");
        assert!(
            told[1].contains(
                "refused       PUBLISH deny/a: not authorized; a rule denies it; rule rules.toml:3; missing publish:deny/a; trace "
            ),
            "{told:?}"
        );
        assert!(told[2].contains("  disconnected  "), "{told:?}");
        let found = json(&candor("why", &url, "operator", &[&id, "--since", "1h", "--json"]));
        assert_eq!((found.len(), &found[0]["event"], &found[0]["client"]), (2, &"verdict".into(), &Value::from(id.as_str())));
        let later = candor("why", &url, "operator", &[&id, "--since", "2100-01-01T00:00:00Z"]);
        assert_eq!((later.status.code(), lines(&later).len()), (Some(0), 0));
        assert!(String::from_utf8_lossy(&later.stderr).contains("the ledger has nothing about"));
    }
    let all = lines(&candor("why", &url, "operator", &["--all"]));
    assert!(all.iter().any(|line| line.contains("device/extended+#%: as somebody, PUBLISH deny/a")), "{all:?}");
    let refused = candor("why", &url, "mallory", &["--all"]);
    assert_eq!((refused.status.code(), lines(&refused).len()), (Some(3), 0));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("missing  subscribe:$operator/story"), "{refused:?}");
    broker.stop().unwrap();
}

#[test]
fn why_lists_the_topics_that_swallow_messages() {
    let (broker, url) = start();
    let payloads = "x\n".repeat(100);
    let file = std::env::temp_dir().join(format!("candor-operator-{}", std::process::id()));
    std::fs::write(&file, payloads).unwrap();
    let input = std::fs::File::open(&file).unwrap();
    let mut run = Command::new(env!("CARGO_BIN_EXE_candor"));
    assert!(run.args(["pub", "-L", &url, "-t", "void", "-l", "-q", "1"]).stdin(input).status().unwrap().success());
    std::fs::remove_file(&file).unwrap();
    let told = lines(&candor("why", &url, "operator", &["--black-holes"]));
    assert!(told.len() == 1 && told[0].contains("void: 100 messages reached nobody, 0 were refused"), "{told:?}");
    assert_eq!(json(&candor("why", &url, "operator", &["--black-holes", "--json"]))[0]["undelivered"], 100);
    broker.stop().unwrap();
}

#[test]
fn clients_lists_the_sessions() {
    let (broker, url) = start();
    let told = lines(&candor("clients", &url, "operator", &["-i", "asker"]));
    assert_eq!(told, ["asker  operator  connected  0 subscriptions"]);
    let found = &json(&candor("clients", &url, "operator", &["-i", "asker", "--json"]))[0];
    assert_eq!((&found["client"], &found["user"], &found["subscriptions"]), (&"asker".into(), &"operator".into(), &serde_json::json!([])));
    assert_eq!(candor("clients", &url, "mallory", &[]).status.code(), Some(3));
    broker.stop().unwrap();
}

#[test]
fn may_i_answers_without_doing() {
    let (broker, url) = start();
    let arguments = ["--publish", "a/b", "--publish", "deny/a", "--subscribe", "#", "-q", "2"];
    let ran = candor("may-i", &url, "somebody", &arguments);
    assert_eq!(ran.status.code(), Some(3), "{ran:?}");
    let told = lines(&ran);
    assert_eq!((told[0].as_str(), told[1].as_str()), ("yes  publish a/b at QoS 2", "no   publish deny/a"));
    assert_eq!(told.last().unwrap(), "yes  subscribe # at QoS 1");
    assert!(told.iter().any(|line| line.trim() == "rule     rules.toml:3"), "{told:?}");
    let found = json(&candor("may-i", &url, "somebody", &[&arguments[..], &["--json"]].concat()));
    assert_eq!((&found[1]["publish"], &found[1]["allowed"], &found[1]["reason"]), (&"deny/a".into(), &false.into(), &0x87.into()));
    assert_eq!(candor("may-i", &url, "somebody", &["--publish", "a"]).status.code(), Some(0));
    assert_eq!(candor("may-i", &url, "somebody", &["--publish", "a", "-V", "3.1.1"]).status.code(), Some(5));
    assert_eq!(candor("may-i", &url, "somebody", &["--publish", "a/+"]).status.code(), Some(2));
    broker.stop().unwrap();
}

#[test]
fn probe_says_how_the_server_is() {
    let (broker, url) = start();
    let told = lines(&candor("probe", &url, "somebody", &[]));
    for name in ["round trip", "backlog", "server-time", "load"] {
        assert!(told.iter().any(|line| line.trim().starts_with(name)), "{name}: {told:?}");
    }
    let found = &json(&candor("probe", &url, "somebody", &["--json"]))[0];
    assert_eq!((&found["backlog"], &found["load"], &found["degraded"]), (&0.into(), &0.into(), &false.into()));
    broker.stop().unwrap();
}

#[tokio::test]
async fn an_application_asks_before_it_sends() {
    let (broker, url) = start();
    let questions = || {
        let topic = |name: &str| TopicName::new(name).unwrap();
        let publish = |name| Question::Publish { topic: topic(name), qos: Qos::AtLeastOnce, retain: false };
        vec![publish("a"), publish("deny/a"), Question::Subscribe { filter: TopicFilter::new("#").unwrap(), qos: Qos::ExactlyOnce }]
    };
    let (client, _messages) = Client::connect(Options::new(&url).unwrap().client_id("asker")).await.unwrap();
    assert_eq!(client.agreement().unwrap().dialect, Dialect::Extended);
    // Signs of life in between do not take the answers.
    let (before, answers, after) = tokio::join!(client.ping(), client.may_i(questions()), client.ping());
    assert!(before.is_ok() && after.is_ok());
    let answers = answers.unwrap();
    assert_eq!((&answers[0], &answers[2]), (&Ok(Qos::AtLeastOnce), &Ok(Qos::AtLeastOnce)));
    assert_eq!(answers[1], Err(denied("publish:deny/a".to_owned())));
    client.leave().await;
    let plain = Options::new(&url).unwrap().client_id("plain").policy(Policy::Plain);
    let (client, _messages) = Client::connect(plain).await.unwrap();
    assert!(matches!(client.may_i(questions()).await, Err(RequestError::NotAvailable { .. })));
    client.leave().await;
    tokio::task::spawn_blocking(move || broker.stop().unwrap()).await.unwrap();
}
