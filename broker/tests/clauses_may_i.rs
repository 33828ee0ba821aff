//! PINGREQ and PINGRESP: what a client may do, asked before it is done, and how its server is.

// A helper's panic is the test's: clippy knows it only inside test functions.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use candor_broker::feedback::{QuarantineLimits, RateLimits};
use candor_broker::queue::{Namespace, Namespaces, QueueLimits};
use candor_broker::shard::Settings;
use candor_protocol::codec::dictionary::{Dictionary, MapBuilder};
use candor_protocol::packet::question::{Answer, Answers, questions_to_dictionary};
use candor_protocol::packet::subscribe::SubAck;
use candor_protocol::packet::{
    Durability, Message, Overflow, Problem, Profile, Qos, Question, Reason, Refusal, Retry, SubscribeItem, TopicFilter, TopicName, property,
};
use candor_protocol::session::{Answer as Answered, Parked};
use candor_protocol::sim::Way;
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use support::store::TestStore;
use support::{Client, TestBroker, durable, everywhere, named, policy, stored_everywhere};

const EXTENDED: [Way; 2] = [Way::Extended, Way::Offer];

fn publish(topic: &str, qos: Qos, retain: bool) -> Question {
    Question::Publish { topic: TopicName::new(topic).unwrap(), qos, retain }
}

fn subscribe(filter: &str, qos: Qos) -> Question {
    Question::Subscribe { filter: TopicFilter::new(filter).unwrap(), qos }
}

fn may_i(client: &mut Client, questions: &[Question]) -> Vec<Answer> {
    let pong = client.ping(Dictionary::with(property::QUESTIONS, &questions_to_dictionary(questions)));
    Answers::of_pong(&pong, questions.len()).unwrap()
}

/// What becomes of it when it is done, but for what names the refusal in the log: a question leaves no line there.
fn act(client: &mut Client, question: &Question) -> Answer {
    done(client, question).map_err(|mut refusal| {
        refusal.problem_mut().trace_id = None;
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
            // All is asked before anything is done, so what was refused meanwhile is not foreseen.
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
        let answers = Answers::of_pong(&pong, 3).unwrap();
        let reasons: Vec<_> = answers.into_iter().map(|answer| answer.map_err(|refusal| refusal.reason)).collect();
        let bad = Err(Reason::IMPLEMENTATION_SPECIFIC_ERROR);
        assert_eq!(reasons, [Ok(Qos::AtMostOnce), bad, bad], "{way:?}");
    }
}

/// What a question says before each of these publishes is what its acknowledgement says.
fn is_foreseen(client: &mut Client, topic: &str, count: usize) -> Vec<Answer> {
    let question = publish(topic, Qos::AtLeastOnce, false);
    let foreseen = |client: &mut Client| {
        let answer = may_i(client, std::slice::from_ref(&question)).remove(0);
        assert_eq!(bare(answer.clone()), bare(act(client, &question)), "{topic}");
        answer
    };
    (0..count).map(|_| foreseen(client)).collect()
}

/// An answer without how much time is left, which goes on between the question and the act.
fn bare(answer: Answer) -> Answer {
    answer.map_err(|mut refusal| {
        if matches!(refusal.problem.retry, Some(Retry::After { .. })) {
            refusal.problem_mut().retry = Some(Retry::After { after_ms: 0, jitter_ms: 0 });
        }
        refusal
    })
}

/// clause may-i.conduct MUST
/// An answer MUST foresee a limit of the client's own rate, and that what was refused again and again is not looked at for a time, as
/// the acknowledgement would say it; a question takes no part of such a limit and counts as no offence.
#[test]
fn an_answer_foresees_what_comes_of_what_was_refused_before() {
    for way in EXTENDED {
        let quarantine = QuarantineLimits { refusals: 3, window_ms: 600_000, first_ms: 600_000, max_ms: 600_000 };
        let broker = TestBroker::with(Settings { quarantine, ..Settings::default() }, policy(), false);
        let mut client = broker.connect(way, "asker");
        for _ in 0..20 {
            assert_eq!(may_i(&mut client, &[publish("deny/a", Qos::AtLeastOnce, false)]), [Err(support::denied())], "{way:?}");
        }
        let answers = is_foreseen(&mut client, "deny/a", 4).into_iter().map(|answer| answer.unwrap_err().reason);
        let (denied, broken) = (Reason::NOT_AUTHORIZED, Reason::DO_NOT_RETRY);
        assert_eq!(answers.collect::<Vec<_>>(), [denied, denied, broken, broken], "{way:?}");
        assert_eq!(is_foreseen(&mut client, "a", 1), [Ok(Qos::AtLeastOnce)], "{way:?}: it is of one topic");
    }
}

#[test]
fn an_answer_foresees_that_the_rate_is_used_up() {
    for way in EXTENDED {
        let rate = RateLimits { messages: 6, bytes: 0 };
        let broker = TestBroker::with(Settings { rate, ..Settings::default() }, policy(), false);
        let mut client = broker.connect(way, "asker");
        let question = publish("a", Qos::AtLeastOnce, false);
        // A second may begin between a question and the act, but none ends there that was not used up.
        let used_up = (0..100).find_map(|n| {
            let (answer, done) = (may_i(&mut client, std::slice::from_ref(&question)).remove(0), act(&mut client, &question));
            assert!(answer.is_err() || done.is_ok(), "{way:?}: {done:?}");
            assert!(n > 5 || answer.is_ok(), "{way:?}: asking took a part of it");
            Some((answer.err()?, done.err()?))
        });
        let (foreseen, refused) = used_up.expect("100 messages were taken");
        assert!(matches!(foreseen.problem.retry, Some(Retry::After { after_ms: 1..=1000, .. })), "{way:?}: {foreseen:?}");
        assert_eq!((foreseen.reason, foreseen.problem.limit), (Reason::MESSAGE_RATE_TOO_HIGH, Some(6)), "{way:?}");
        assert_eq!(bare(Err(foreseen)), bare(Err(refused)), "{way:?}");
    }
}

/// clause may-i.room MUST
/// Where publishers are refused when a queue is full, or when the store fails, an answer MUST foresee that as the acknowledgement would
/// say it, of all subscribers but those whose turn in a group it would be.
#[test]
fn an_answer_foresees_a_queue_that_is_full() {
    let cases = EXTENDED.into_iter().flat_map(|way| [1, 3].map(|shards| (way, shards)));
    for (way, shards, is_of_namespace) in cases.flat_map(|(way, shards)| [(way, shards, false), (way, shards, true)]) {
        let limits = QueueLimits { len_max: 2, bytes_max: 1 << 20, overflow: Overflow::RefusePublisher };
        let settings = match is_of_namespace {
            true => {
                let filter = TopicFilter::new("#").unwrap();
                let namespaces = Namespaces::new(vec![Namespace { filter, queue: limits, message_expiry_max_s: u32::MAX }]);
                Settings { shards, namespaces, ..Settings::default() }
            }
            false => Settings { shards, queue: limits, ..Settings::default() },
        };
        let rule = if is_of_namespace { "overflow refuse-publisher of namespace #" } else { "overflow refuse-publisher" };
        let broker = TestBroker::with(settings, policy(), false);
        for filter in ["a/+", "$envelope/b", "$share/g/c"] {
            let mut away = broker.connect_stored(way, filter, Parked::default());
            away.subscribe(filter, Qos::AtLeastOnce);
            away.lose_connection();
        }
        let mut client = broker.connect(way, "asker");
        let twice = [Ok(Qos::AtLeastOnce), Ok(Qos::AtLeastOnce)];
        for topic in ["a/b", "b"] {
            assert_eq!(is_foreseen(&mut client, topic, 2), twice, "{way:?} {topic}");
            let full = is_foreseen(&mut client, topic, 1).remove(0).unwrap_err();
            assert_eq!((full.reason, full.problem.rule.as_deref()), (Reason::QUEUE_OVERFLOW, Some(rule)), "{topic}");
        }
        assert_eq!(is_foreseen(&mut client, "d", 1), [Ok(Qos::AtLeastOnce)], "{way:?}: nobody wants it");
        // Whose turn it would be in the group is not asked, and asking gives nobody a turn.
        for _ in 0..3 {
            assert_eq!(may_i(&mut client, &[publish("c", Qos::AtLeastOnce, false)]), [Ok(Qos::AtLeastOnce)], "{way:?}");
        }
        assert_eq!(may_i(&mut client, &[publish("a/b", Qos::AtMostOnce, false)]), [Ok(Qos::AtMostOnce)], "of QoS 0 nobody is told");
    }
}

#[test]
fn an_answer_foresees_that_the_store_fails() {
    for way in EXTENDED {
        let store = TestStore::default();
        let broker = TestBroker::with(Settings { storage: store.storage(), ..Settings::default() }, durable(), false);
        let mut subscriber = broker.connect_stored(way, "subscriber", Parked::default());
        subscriber.subscribe("kept", Qos::AtLeastOnce);
        let mut client = broker.connect(way, "asker");
        assert_eq!(is_foreseen(&mut client, "kept", 1), [Ok(Qos::AtLeastOnce)]);
        store.fail(true);
        // The first that cannot be kept shows it.
        assert!(act(&mut client, &publish("kept", Qos::AtLeastOnce, false)).is_err());
        assert!(is_foreseen(&mut client, "kept", 1).remove(0).is_err(), "{way:?}");
        assert_eq!(is_foreseen(&mut client, "for nobody", 1), [Ok(Qos::AtLeastOnce)], "{way:?}");
    }
}

fn ask(client: &mut Client, count: i64, question: &[u8]) -> Dictionary {
    let mut questions = MapBuilder::new();
    for index in 0..count {
        questions.put(index, |out| out.extend(question));
    }
    client.ping(Dictionary::with(property::QUESTIONS, &questions.finish()))
}

/// `{0: "a"}`: a publish to `a`; and what is no question, but costs as much.
const GOOD: &[u8] = &[0xA1, 0, 0x61, b'a'];
const NOTHING: &[u8] = &[0xA0];

/// clause may-i.rate MUST
/// A server MUST limit how many questions it answers.  It answers the first ones of a packet, in ascending order of their indices, and
/// MUST say in the PINGRESP under `count` how many behind them have no answer, under `reason` why (0x96: the connection has asked too
/// much; 0x89: the server has no time), and in `problem` when to ask again.
#[test]
fn nobody_asks_without_end() {
    for (way, question) in EXTENDED.into_iter().flat_map(|way| [(way, GOOD), (way, NOTHING)]) {
        let broker = TestBroker::start(1);
        let mut client = broker.connect(way, "asker");
        let began = Instant::now();
        let pong = ask(&mut client, 700, question);
        let (answers, count) = (pong.value(property::ANSWERS).unwrap(), pong.value(property::COUNT));
        assert_eq!((answers.entries().count(), count), (500, Some(200)), "{way:?}");
        assert_eq!(pong.value(property::REASON), Some(u64::from(Reason::MESSAGE_RATE_TOO_HIGH.0)), "{way:?}");
        let problem = Problem::of_dictionary(&pong.value(property::PROBLEM).unwrap());
        assert!(matches!(problem.retry, Some(Retry::After { after_ms: 2000, .. })), "{:?}", problem.retry);
        let read = Answers::of_pong(&pong, 700).unwrap();
        let last = read.last().unwrap().as_ref().unwrap_err();
        assert_eq!((last.reason, &*last.problem), (Reason::MESSAGE_RATE_TOO_HIGH, &problem), "the client hands it to each that asked");
        assert_eq!(read[499].is_ok(), question == GOOD);
        // Who goes on asking is answered what the time gives.
        let answered: usize = (0..20).map(|_| ask(&mut client, 500, question).value(property::ANSWERS).unwrap().entries().count()).sum();
        let earned = began.elapsed().as_millis() as usize / 10 + 1;
        assert!(answered <= earned, "{way:?}: {answered} more were answered, {earned} were due");
        assert_eq!(client.publish("a", "x", Qos::AtLeastOnce).unwrap().refusal(), None, "what is not asked goes on");
    }
}

/// Many connections that each ask as much as one may share the time of their shard.
#[test]
fn all_together_ask_no_more_than_a_turn_has_time_for() {
    for way in EXTENDED {
        let broker = TestBroker::start(1);
        let mut askers: Vec<Client> = (0..8).map(|n| broker.connect(way, &format!("asker {n}"))).collect();
        let questions = vec![publish("a", Qos::AtMostOnce, false); 500];
        let asked = Dictionary::with(property::QUESTIONS, &questions_to_dictionary(&questions));
        // However the packets fall into turns, each is answered as far as its answer says.
        let pongs: Vec<Dictionary> = std::thread::scope(|scope| {
            let asking: Vec<_> = askers.iter_mut().map(|client| scope.spawn(|| client.ping(asked.clone()))).collect();
            asking.into_iter().map(|asking| asking.join().unwrap()).collect()
        });
        for pong in pongs {
            let answers = Answers::of_pong(&pong, 500).unwrap();
            let refused: Vec<Reason> = answers.into_iter().filter_map(Result::err).map(|refusal| refusal.reason).collect();
            assert!(refused.iter().all(|reason| *reason == Reason::SERVER_BUSY), "{way:?}: {refused:?}");
        }
        askers.into_iter().for_each(Client::leave);
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
        let broker = TestBroker::with(Settings { storage: store.storage(), ..Settings::default() }, durable(), false);
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
