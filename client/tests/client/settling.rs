//! What subscribers settle, as publishers and operators see it, with a broker in this process.

#[path = "../bench/broker.rs"]
#[allow(dead_code, reason = "the load generator's tests start it otherwise")]
mod broker;

use crate::command::{candor, finish, spawn};
use crate::support::{Script, Server, soon};
use broker::Served;
use candor_broker::shard::{DeadLetterSettings, ReportSettings, Settings};
use candor_client::{Client, DeliveryReport, Messages, Options, Policy, Problem, Qos, Reason, Reported, Settlement, TopicFilter};
use serde_json::{Value, json};

fn served() -> Served {
    let namespaces = vec![TopicFilter::new("orders/#").unwrap()];
    let reports = ReportSettings { namespaces: namespaces.clone(), ..ReportSettings::default() };
    let dead_letters = DeadLetterSettings { namespaces, len_max: 100, bytes_max: 1 << 20, keeps_text: true };
    Served::with(Settings { shards: 1, reports, dead_letters, ..Settings::default() })
}

async fn subscriber(served: &Served) -> (Client, Messages) {
    let options = Options::new(&format!("mqtt://{}", served.address)).unwrap().settlement(Settlement::Manual);
    let (client, messages) = Client::connect(options).await.unwrap();
    client.subscribe("orders/#").await.unwrap();
    (client, messages)
}

#[tokio::test]
async fn a_publisher_can_wait_for_what_its_subscribers_say() {
    let served = served();
    let (_one, mut accepts) = subscriber(&served).await;
    let (_other, mut rejects) = subscriber(&served).await;
    let (publisher, _messages) = Client::connect(Options::new(&format!("mqtt://{}", served.address)).unwrap()).await.unwrap();
    let publishing = publisher.publish("orders/7", "x").qos(Qos::AtLeastOnce).end_to_end();
    let settling = async {
        accepts.next().await.unwrap().accept();
        rejects.next().await.unwrap().reject(Problem::titled("out of stock"));
    };
    let (told, ()) = soon(async { tokio::join!(publishing, settling) }).await;
    let told = told.unwrap();
    assert_eq!(told.receipt.reason, Reason::SUCCESS);
    let Reported::Told(DeliveryReport { matched, accepted, rejected, pending, .. }) = told.reported else { panic!("{told:?}") };
    assert_eq!((matched, accepted, rejected, pending), (2, 1, vec![(Reason::REJECTED, 1)], 0));
    // Where no reports are made it does not wait.
    let told = soon(publisher.publish("elsewhere", "x").qos(Qos::AtLeastOnce).end_to_end()).await.unwrap();
    assert_eq!(told.reported, Reported::NotMade("no reports are made for this topic".into()));
}

#[tokio::test]
async fn a_plain_publisher_is_told_that_it_cannot_ask() {
    let served = served();
    let options = Options::new(&format!("mqtt://{}", served.address)).unwrap().policy(Policy::Plain);
    let (publisher, _messages) = Client::connect(options).await.unwrap();
    let told = soon(publisher.publish("orders/7", "x").qos(Qos::AtLeastOnce).end_to_end()).await.unwrap();
    assert!(matches!(told.reported, Reported::NotMade(_)), "{told:?}");
}

#[tokio::test]
async fn pub_prints_the_report() {
    let served = served();
    let url = format!("mqtt://{}", served.address);
    let ran = candor(&["pub", "-L", &url, "-t", "orders/7", "-m", "x", "-q", "1", "--report"]).await;
    assert_eq!((ran.exit, ran.out.as_str()), (0, "matched      0\naccepted     0\n"), "{}", ran.error);
    let ran = candor(&["pub", "-L", &url, "-t", "orders/7", "-m", "x", "-q", "1", "--report", "--json"]).await;
    let printed: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((&printed["reason"], &printed["report"]["matched"]), (&json!(0x10), &json!(0)));
    let ran = candor(&["pub", "-L", &url, "-t", "elsewhere", "-m", "x", "--report"]).await;
    assert_eq!((ran.exit, ran.out.as_str()), (5, "no report: no reports are made for this topic\n"), "{}", ran.error);
}

#[tokio::test]
async fn sub_rejects_what_it_has_printed_and_says_why() {
    let served = served();
    let url = format!("mqtt://{}", served.address);
    let rejecting = spawn(&["sub", "-L", &url, "-t", "orders/#", "-q", "1", "-C", "1", "--reject", "out of stock"]);
    // What is sent before the subscription stands reaches nobody, and says so.
    let report = loop {
        let ran = candor(&["pub", "-L", &url, "-t", "orders/7", "-m", "x", "-q", "1", "--report", "--json"]).await;
        let printed = ran.json().remove(0);
        if printed["report"]["matched"] != json!(0) {
            break printed["report"].clone();
        }
    };
    assert_eq!(
        (&report["accepted"], &report["rejected"][0]["reason"], &report["rejected"][0]["count"]),
        (&json!(0), &json!(0xC2), &json!(1))
    );
    let ran = finish(rejecting).await;
    assert_eq!((ran.exit, ran.out.as_str(), ran.error.as_str()), (0, "x\n", ""));
    let id = candor(&["dead-letters", "list", "-L", &url, "--json"]).await.json()[0]["id"].as_str().unwrap().to_owned();
    let ran = candor(&["dead-letters", "show", "-L", &url, &id]).await;
    assert!(ran.out.contains("a subscriber says: rejected") && ran.out.contains("out of stock"), "{}", ran.out);
}

#[tokio::test]
async fn sub_rejects_nothing_where_nobody_would_hear_it() {
    let plain = Server::start(Script::old()).await;
    let url = plain.url();
    let sub = |more: &[&'static str]| {
        let arguments = [&["sub", "-L", url.as_str(), "-t", "a", "--reject", "no"], more].concat();
        async move { candor(&arguments).await }
    };
    let ran = sub(&["-q", "1"]).await;
    assert_eq!((ran.exit, ran.out.as_str()), (5, ""), "{}", ran.error);
    assert!(ran.error.starts_with("candor: --reject needs the extended dialect: a plain server would take"), "{}", ran.error);
    let ran = sub(&["-q", "1", "-V", "3.1.1"]).await;
    assert_eq!(ran.exit, 2);
    assert!(ran.error.contains("--reject needs the extended dialect: a plain one cannot say it"), "{}", ran.error);
    let ran = sub(&[]).await;
    assert_eq!(ran.exit, 2);
    assert!(ran.error.contains("--reject needs -q 1 or -q 2"), "{}", ran.error);
}

#[tokio::test]
async fn dead_letters_are_listed_shown_sent_again_and_discarded() {
    let served = served();
    let url = format!("mqtt://{}", served.address);
    let (client, mut messages) = subscriber(&served).await;
    let (publisher, _messages) = Client::connect(Options::new(&url).unwrap()).await.unwrap();
    for payload in ["first", "second"] {
        publisher.publish("orders/7", payload).qos(Qos::AtLeastOnce).await.unwrap();
        soon(messages.next()).await.unwrap().reject(Problem::titled("out of stock").rule("stock"));
    }
    // The second rejection was on its way when the list was asked for, or not.
    let list = loop {
        let ran = candor(&["dead-letters", "list", "-L", &url, "--json"]).await;
        assert_eq!(ran.exit, 0, "{}", ran.error);
        let list: Vec<Value> = ran.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        if list.len() == 2 {
            break list;
        }
    };
    let first = list.iter().find(|letter| letter["payload"] == "first").unwrap();
    assert_eq!((&first["topic"], &first["rejected"], &first["qos"]), (&json!("orders/7"), &json!(1), &json!(1)));
    assert_eq!(first["rejections"][0]["reason"], json!(0xC2));
    let id = first["id"].as_str().unwrap();

    let ran = candor(&["dead-letters", "show", "-L", &url, id]).await;
    assert_eq!(ran.exit, 0, "{}", ran.error);
    for part in ["topic        orders/7", "a subscriber says: rejected", "out of stock; stock", "\n\nfirst\n"] {
        assert!(ran.out.contains(part), "{part}: {}", ran.out);
    }

    let ran = candor(&["dead-letters", "redrive", "-L", &url, "-t", "orders/+", id]).await;
    assert_eq!((ran.exit, ran.out.split(' ').next()), (0, Some("redriven")), "{}", ran.error);
    let again = soon(messages.next()).await.unwrap();
    assert_eq!((again.topic(), again.payload()), ("orders/7", &b"first"[..]));
    again.accept();

    let ran = candor(&["dead-letters", "redrive", "-L", &url, id]).await;
    assert_eq!(ran.exit, 1);
    assert!(ran.error.contains("there is no dead letter"), "{}", ran.error);

    client.leave().await;
    let ran = candor(&["dead-letters", "redrive", "-L", &url, "--all", "--json"]).await;
    let printed: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((ran.exit, &printed["done"]), (0, &json!("unwanted")), "{}: nobody is subscribed, so it stays", ran.error);

    let ran = candor(&["dead-letters", "discard", "-L", &url, "--all"]).await;
    assert_eq!((ran.exit, ran.out.lines().count()), (0, 1), "{}", ran.error);
    assert!(ran.out.starts_with("discarded  "), "{}", ran.out);
    let ran = candor(&["dead-letters", "list", "-L", &url]).await;
    assert_eq!((ran.exit, ran.out.as_str()), (0, ""), "{}", ran.error);
}
