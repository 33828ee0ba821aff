//! PINGREQ and PINGRESP: what a client may do, asked before it is done, and how its server is.

// A helper's panic is the test's: clippy knows it only inside test functions.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use candor_broker::feedback::quarantine::QuarantineLimits;
use candor_broker::shard::Settings;
use candor_protocol::codec::dictionary::{Dictionary, MapBuilder};
use candor_protocol::packet::question::{Answer, answers_of_dictionary, questions_to_dictionary};
use candor_protocol::packet::subscribe::SubAck;
use candor_protocol::packet::{
    Durability, Message, Problem, Profile, Qos, Question, Reason, Refusal, SubscribeItem, TopicFilter, TopicName, property,
};
use candor_protocol::session::{Answer as Answered, Parked};
use candor_protocol::sim::Way;
use std::time::{SystemTime, UNIX_EPOCH};
use support::store::TestStore;
use support::{Client, TestBroker, everywhere, named, policy, stored_everywhere};

const EXTENDED: [Way; 2] = [Way::Extended, Way::Offer];

fn publish(topic: &str, qos: Qos, retain: bool) -> Question {
    Question::Publish { topic: TopicName::new(topic).unwrap(), qos, retain }
}

fn subscribe(filter: &str, qos: Qos) -> Question {
    Question::Subscribe { filter: TopicFilter::new(filter).unwrap(), qos }
}

fn may_i(client: &mut Client, questions: &[Question]) -> Vec<Answer> {
    let pong = client.ping(Dictionary::with(property::QUESTIONS, &questions_to_dictionary(questions)));
    answers_of_dictionary(&pong.value(property::ANSWERS).unwrap(), questions.len()).unwrap()
}

/// What becomes of it when it is done, but for what names the refusal in the log: a question leaves no line there.
fn act(client: &mut Client, question: &Question) -> Answer {
    done(client, question).map_err(|mut refusal| {
        refusal.problem.trace_id = None;
        refusal
    })
}

fn done(client: &mut Client, question: &Question) -> Answer {
    match question {
        Question::Publish { topic, qos, retain } => {
            let message = Message::new(topic, &Dictionary::EMPTY, b"x");
            match client.publish_with(message, *qos, *retain, Dictionary::EMPTY) {
                Some(outcome) => outcome.refusal().map_or(Ok(*qos), Err),
                None => panic!("{topic}: no acknowledgement"),
            }
        }
        Question::Subscribe { filter, qos } => {
            let Answered::Subscribed(SubAck { reasons, dictionary, .. }) =
                client.subscribe_all(std::slice::from_ref(filter), *qos, Dictionary::EMPTY)
            else {
                panic!("no SUBACK")
            };
            match Qos::new(reasons[0].0) {
                Some(qos) => Ok(qos),
                None => {
                    let problem = dictionary.item(0).value(property::PROBLEM).map(|problem| Problem::of_dictionary(&problem));
                    Err(Refusal::new(reasons[0], problem.unwrap_or_default()))
                }
            }
        }
    }
}

struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }

    fn qos(&mut self) -> Qos {
        Qos::ALL[self.below(3)]
    }
}

const FILTERS: [&str; 12] =
    ["#", "+", "a/#", "a/+", "a/b", "b", "+/b", "$SYS/#", "$share/g/a/#", "$envelope/a/+", "$feedback/#", "$operator/story"];
const TOPICS: [&str; 8] = ["a", "a/b", "a/c", "b", "c/b", "$SYS/x", "$envelope/a", "$other/x"];

fn random_rules(dice: &mut Dice) -> String {
    let mut rules = format!("default = \"{}\"\n", dice.pick(&["allow", "deny"]));
    for _ in 0..dice.below(5) {
        let allows = dice.below(3) > 0;
        rules += &format!("[[rule]]\naction = \"{}\"\n", if allows { "allow" } else { "deny" });
        let patterns = ["#", "a/#", "a/+", "a/b", "b", "+/b", "$SYS/#", "%u/#", "$operator/#", "$other/#"];
        for verb in ["publish", "subscribe"] {
            rules += &format!("{verb} = [\"{}\", \"{}\"]\n", dice.pick(&patterns), dice.pick(&patterns));
        }
        if allows {
            rules += &format!("qos_max = {}\nretain = {}\n", dice.below(3), dice.below(2) == 0);
        }
    }
    rules + "[[rule]]\naction = \"allow\"\nconnect = true\n"
}

/// clause may-i.answer MUST
/// A server MUST answer each question under `questions` of a PINGREQ, under `answers` of its PINGRESP and the same index, with the
/// reason and the problem that it would acknowledge the packet with if it came now; no `trace-id` is in it, since nothing was refused.
#[test]
fn an_answer_is_what_happens_then() {
    for way in EXTENDED {
        for seed in 0..25 {
            let dice = &mut Dice(seed);
            let rules = random_rules(dice);
            let shards = if seed % 2 == 0 { 1 } else { 3 };
            // One that goes on asking for what it was refused meets the breaker, which no question foresees.
            let quarantine = QuarantineLimits { refusals: 0, ..QuarantineLimits::default() };
            let broker = TestBroker::with_rules(Settings { shards, quarantine, ..Settings::default() }, policy(), &rules);
            let mut client = broker.connect_with(named(way.settings("asker"), "a"));
            if client.opened.is_none() {
                continue;
            }
            let questions: Vec<Question> = (0..30)
                .map(|_| match dice.below(2) {
                    // Refusals at QoS 0 are told together, and later.
                    0 => publish(dice.pick(&TOPICS), dice.qos().max(Qos::AtLeastOnce), dice.below(3) == 0),
                    _ => subscribe(dice.pick(&FILTERS), dice.qos()),
                })
                .collect();
            let answers = may_i(&mut client, &questions);
            for (question, answer) in questions.iter().zip(answers) {
                assert_eq!(act(&mut client, question), answer, "{way:?} seed {seed}: {question:?} under\n{rules}");
            }
            client.leave();
        }
    }
}

/// clause may-i.nothing MUST NOT
/// A server MUST NOT do anything of what it is asked about.
#[test]
fn a_question_does_nothing() {
    everywhere(|broker, way| {
        if !way.is_extended() {
            return;
        }
        let mut watcher = broker.connect(Way::Plain, "watcher");
        watcher.subscribe("#", Qos::AtMostOnce);
        let mut client = broker.connect_with(named(way.settings("asker"), "somebody"));
        let questions =
            [publish("asked", Qos::ExactlyOnce, true), subscribe("asked", Qos::AtLeastOnce), publish("deny/a", Qos::AtMostOnce, false)];
        let answers = may_i(&mut client, &questions);
        assert_eq!((&answers[0], &answers[1]), (&Ok(Qos::ExactlyOnce), &Ok(Qos::AtLeastOnce)));
        assert_eq!(answers[2], Err(support::denied()));
        watcher.expect_nothing();
        assert_eq!(client.notices, []);
        broker.connect(Way::Plain, "publisher").publish("asked", "x", Qos::AtLeastOnce);
        assert_eq!(watcher.expect(1), ["asked x"]);
        client.expect_nothing();
        // Nor is it written down.
        client.subscribe("$feedback/#", Qos::AtMostOnce);
        client.expect_nothing();
        [client, watcher].into_iter().for_each(Client::leave);
    });
}

/// clause may-i.malformed MUST
/// A server MUST answer for itself each question that is none, and act on the others.
#[test]
fn what_is_no_question_does_not_spoil_the_others() {
    for way in EXTENDED {
        let broker = TestBroker::start(1);
        let mut client = broker.connect(way, "asker");
        let mut questions = MapBuilder::new();
        let good = questions_to_dictionary(&[publish("a", Qos::AtMostOnce, false)]);
        questions.merge(&good).put(1, |out| out.push(0xA0)).put(2, |out| out.push(7));
        let pong = client.ping(Dictionary::with(property::QUESTIONS, &questions.finish()));
        let answers = answers_of_dictionary(&pong.value(property::ANSWERS).unwrap(), 3).unwrap();
        let reasons: Vec<_> = answers.into_iter().map(|answer| answer.map_err(|refusal| refusal.reason)).collect();
        let bad = Err(Reason::IMPLEMENTATION_SPECIFIC_ERROR);
        assert_eq!(reasons, [Ok(Qos::AtMostOnce), bad, bad], "{way:?}");
    }
}

/// clause may-i.rate MUST
/// A server MUST limit how many questions it answers to one connection, and answer those beyond it with reason 0x96 and a problem that
/// says when to ask again.
#[test]
fn nobody_asks_without_end() {
    for way in EXTENDED {
        let broker = TestBroker::start(1);
        let mut client = broker.connect(way, "asker");
        let questions = vec![publish("a", Qos::AtMostOnce, false); 500];
        let mut refused = None;
        for _ in 0..10 {
            let answers = may_i(&mut client, &questions);
            refused = answers.into_iter().find_map(Result::err);
            if refused.is_some() {
                break;
            }
        }
        let refused = refused.expect("5,000 questions were answered");
        assert_eq!(refused.reason, Reason::MESSAGE_RATE_TOO_HIGH, "{way:?}");
        assert!(matches!(refused.problem.retry, Some(candor_protocol::packet::Retry::After { .. })));
        assert_eq!(client.publish("a", "x", Qos::AtLeastOnce).unwrap().refusal(), None, "what is not asked goes on");
    }
}

/// What is no question costs as much to answer, so it counts as one.
#[test]
fn nobody_asks_nothing_without_end() {
    for way in EXTENDED {
        let broker = TestBroker::start(1);
        let mut client = broker.connect(way, "asker");
        let mut nothing = MapBuilder::new();
        for index in 0..500 {
            nothing.put(index, |out| out.push(0xA0));
        }
        let nothing = Dictionary::with(property::QUESTIONS, &nothing.finish());
        let limited = (0..10).any(|_| {
            let pong = client.ping(nothing.clone());
            let answers = answers_of_dictionary(&pong.value(property::ANSWERS).unwrap(), 500).unwrap();
            answers.into_iter().filter_map(Result::err).any(|refusal| refusal.reason == Reason::MESSAGE_RATE_TOO_HIGH)
        });
        assert!(limited, "{way:?}: 5,000 were answered as if they were free");
    }
}

/// clause pings.tells MUST
/// A server MUST say in a PINGRESP on an extended connection how many messages wait for the session, its time, and its load.
#[test]
fn a_sign_of_life_says_how_the_server_is() {
    everywhere(|broker, way| {
        if !way.is_extended() {
            return;
        }
        let mut client = broker.connect(way, "asker");
        let pong = client.ping(Dictionary::EMPTY);
        let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64;
        assert!(pong.value(property::SERVER_TIME).unwrap().abs_diff(now_ms) < 60_000);
        assert_eq!((pong.value(property::BACKLOG), pong.value(property::LOAD)), (Some(0), Some(0)));
        assert_eq!((pong.value(property::PROFILE), pong.value(property::ANSWERS)), (None, None));
        client.leave();
    });
    for way in EXTENDED {
        let broker = TestBroker::with(Settings { connections_max: 4, ..Settings::default() }, policy(), false);
        let mut client = broker.connect(way, "asker");
        let other = broker.connect(Way::Plain, "other");
        assert_eq!(client.ping(Dictionary::EMPTY).value(property::LOAD), Some(50), "two of four connections");
        other.leave();
        // A window that is full makes messages wait.
        client.settles = None;
        client.subscribe("wait", Qos::AtLeastOnce);
        let mut publisher = broker.connect(Way::Plain, "publisher");
        for n in 0..105 {
            publisher.publish("wait", &n.to_string(), Qos::AtLeastOnce);
        }
        assert_eq!(client.ping(Dictionary::EMPTY).value(property::BACKLOG), Some(5), "{way:?}");
    }
}

/// clause pings.profile MUST
/// A server that cannot keep what its profile declares MUST say the profile now in force in each PINGRESP on an extended connection.
#[test]
fn a_sign_of_life_says_that_a_guarantee_is_lost() {
    for way in EXTENDED {
        let store = TestStore::default();
        let broker = TestBroker::with(Settings { storage: store.storage(), ..Settings::default() }, policy(), false);
        let mut client = broker.connect_stored(way, "asker", Parked::default());
        client.subscribe("kept", Qos::AtLeastOnce);
        store.fail(true);
        let mut publisher = broker.connect_with(stored_everywhere(Way::Plain, "publisher"));
        if publisher.opened.is_some() {
            publisher.start_publish("kept", "x", Qos::AtLeastOnce, false);
        }
        client.until(|client| !client.notices.is_empty());
        let profile = client.ping(Dictionary::EMPTY).value(property::PROFILE).map(|map| Profile::of_dictionary(&map).durability);
        assert_eq!(profile, Some(Durability::None), "{way:?}");
    }
}

#[test]
fn the_keys_of_questions_are_the_clients_and_of_pingreq_alone() {
    for way in EXTENDED {
        let broker = TestBroker::start(1);
        let mut client = broker.connect(way, "asker");
        let key = Dictionary::with(property::QUESTIONS, &questions_to_dictionary(&[subscribe("a", Qos::AtMostOnce)]));
        let item = SubscribeItem { filter: Ok(TopicFilter::new("a").unwrap()), qos: Qos::AtMostOnce };
        let Answered::Subscribed(suback) = client.subscribe_all(&[item.filter.unwrap()], item.qos, key) else { panic!("no SUBACK") };
        assert_eq!(suback.reasons, [Reason::KEY_NOT_ALLOWED], "{way:?}");
    }
}
