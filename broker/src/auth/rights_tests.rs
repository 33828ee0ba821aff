use super::*;
use crate::auth::pattern::world;
use crate::config::source::Source;
use candor_protocol::packet::topic::pattern_matches;
use proptest::prelude::*;

const QOS0: Qos = Qos::AtMostOnce;
const QOS1: Qos = Qos::AtLeastOnce;
const QOS2: Qos = Qos::ExactlyOnce;

fn rights(text: &str, user: Option<&str>, client_id: &str) -> Rights {
    let (rules, _) = Rules::parse(&Source::new("etc/rules.toml", text)).unwrap_or_else(|found| panic!("{found}"));
    Rights::compile(&Arc::new(rules), user, client_id)
}

fn filter(text: &str) -> TopicFilter {
    TopicFilter::new(text).unwrap()
}

fn refusal<T: std::fmt::Debug>(result: Result<T, Refusal>) -> String {
    result.unwrap_err().to_string()
}

const SENSORS: &str = r#"
[[rule]]
name = "sensors only"
action = "allow"
user = "sensor-*"
publish = ["plant/%u/#", "logs/%c"]
subscribe = ["plant/%u/commands/+"]
qos_max = 1
retain = false
will = false
"#;

#[test]
fn without_rules_everything_is_allowed_but_the_topics_of_the_server() {
    let open = Rights::open();
    assert_eq!(open.publish(b"a/b", QOS2, true), Ok(Grant { qos_max: QOS2, rule: None }));
    assert!(open.subscribe(&filter("#")).is_ok() && open.subscribe(&filter("$SYS/#")).is_ok() && open.will(b"w", QOS1, true).is_ok());
    insta::assert_snapshot!(refusal(open.publish(b"$SYS/x", QOS0, false)), @"not authorized (0x87): publishing to this topic is not allowed (topics that begin with $ are the server's, unless a rule allows them); rule: no rules file; a retry can help once something else has changed; missing: publish:$SYS/x");
    assert!(open.will(b"$SYS/x", QOS0, false).is_err());
}

#[test]
fn a_grant_names_its_rule_and_its_qos() {
    let rights = rights(SENSORS, Some("sensor-1"), "c1");
    let grant = Grant { qos_max: QOS1, rule: Some("rules.toml:2 \"sensors only\"") };
    assert_eq!(rights.publish(b"plant/sensor-1/temperature", QOS1, false), Ok(grant));
    assert_eq!(rights.publish(b"logs/c1", QOS0, false), Ok(grant));
    assert_eq!(rights.subscribe(&filter("plant/sensor-1/commands/+")), Ok(grant));
    assert_eq!(rights.subscribe(&filter("$share/g/plant/sensor-1/commands/start")), Ok(grant));
}

#[test]
fn a_refusal_names_the_rule_the_right_and_the_limit() {
    let rights = rights(SENSORS, Some("sensor-1"), "c1");
    insta::assert_snapshot!(refusal(rights.publish(b"plant/sensor-2/x", QOS0, false)), @"not authorized (0x87): publishing to this topic is not allowed (no rule allows it); rule: rules.toml default; a retry can help once something else has changed; missing: publish:plant/sensor-2/x");
    insta::assert_snapshot!(refusal(rights.publish(b"plant/sensor-1/x", QOS2, false)), @r#"not authorized (0x87): publishing to this topic is not allowed (the rule allows a lower QoS only); rule: rules.toml:2 "sensors only"; limit 1, seen 2; field: qos; a retry can help once something else has changed; missing: publish:plant/sensor-1/x"#);
    insta::assert_snapshot!(refusal(rights.publish(b"plant/sensor-1/x", QOS0, true)), @r#"not authorized (0x87): publishing to this topic is not allowed (the rule allows no retained message); rule: rules.toml:2 "sensors only"; field: retain; a retry can help once something else has changed; missing: publish:plant/sensor-1/x"#);
    insta::assert_snapshot!(refusal(rights.will(b"plant/sensor-1/x", QOS0, false)), @r#"not authorized (0x87): a will to this topic is not allowed (the rule allows no will); rule: rules.toml:2 "sensors only"; field: will; a retry can help once something else has changed; missing: will:plant/sensor-1/x"#);
    insta::assert_snapshot!(refusal(rights.subscribe(&filter("plant/#"))), @"not authorized (0x87): subscribing to this filter is not allowed (no rule allows it); rule: rules.toml default; a retry can help once something else has changed; missing: subscribe:plant/#");
    let problem = rights.publish(b"plant/sensor-1/x", QOS2, false).unwrap_err().problem;
    assert_eq!((problem.limit, problem.seen, problem.field.as_deref()), (Some(1), Some(2), Some("qos")));
    assert_eq!(problem.retry, Some(Retry::Changed));
}

#[test]
fn the_first_rule_that_decides_decides() {
    let text = r#"
[[rule]]
action = "deny"
publish = ["a/secret"]
[[rule]]
action = "allow"
publish = ["a/#"]
qos_max = 0
[[rule]]
action = "allow"
publish = "+/#"
"#;
    let rights = rights(text, Some("x"), "c");
    insta::assert_snapshot!(refusal(rights.publish(b"a/secret", QOS0, false)), @"not authorized (0x87): publishing to this topic is not allowed (the rule denies it); rule: rules.toml:2; a retry can help once something else has changed; missing: publish:a/secret");
    // The second rule has the topic, so the third is not asked.
    assert!(rights.publish(b"a/b", QOS0, false).is_ok() && rights.publish(b"a/b", QOS1, false).is_err());
    assert!(rights.publish(b"b", QOS2, true).is_ok());
}

#[test]
fn a_filter_of_which_a_part_is_denied_is_refused_as_a_whole() {
    let text = r#"
default = "allow"
[[rule]]
name = "secrets"
action = "deny"
subscribe = ["+/secret", "$SYS/internal/#"]
"#;
    let rights = rights(text, None, "c");
    insta::assert_snapshot!(refusal(rights.subscribe(&filter("#"))), @r#"not authorized (0x87): subscribing to this filter is not allowed (the rule denies the part of it that +/secret matches); rule: rules.toml:3 "secrets"; a retry can help once something else has changed; missing: subscribe:#"#);
    insta::assert_snapshot!(refusal(rights.subscribe(&filter("a/secret"))), @r#"not authorized (0x87): subscribing to this filter is not allowed (the rule denies it); rule: rules.toml:3 "secrets"; a retry can help once something else has changed; missing: subscribe:a/secret"#);
    for refused in ["a/+", "a/#", "+/+", "$SYS/#", "$share/g/a/#", "$envelope/a/#", "$share/g/$envelope/#"] {
        assert!(rights.subscribe(&filter(refused)).is_err(), "{refused}");
    }
    for allowed in ["+", "a/b", "a/+/c", "+/secret/x", "$SYS/broker/#", "$envelope/a/b"] {
        assert!(rights.subscribe(&filter(allowed)).is_ok(), "{allowed}");
    }
}

#[test]
fn a_filter_wider_than_every_right_is_refused() {
    let text = "[[rule]]\naction = \"allow\"\nsubscribe = [\"a/b\", \"a/c\", \"x/#\"]\n";
    let rights = rights(text, Some("u"), "c");
    for refused in ["a/+", "#", "+/#", "x", "$SYS/#"].iter().filter(|text| **text != "x") {
        assert!(rights.subscribe(&filter(refused)).is_err(), "{refused}");
    }
    for allowed in ["a/b", "x", "x/+/#", "$envelope/x/y"] {
        assert!(rights.subscribe(&filter(allowed)).is_ok(), "{allowed}");
    }
}

#[test]
fn a_part_with_a_lower_qos_lowers_the_whole() {
    let text = "[[rule]]\naction = \"allow\"\nsubscribe = \"a/b\"\nqos_max = 0\n[[rule]]\naction = \"allow\"\nsubscribe = \"a/+\"\n";
    let rights = rights(text, Some("u"), "c");
    assert_eq!(rights.subscribe(&filter("a/+")).unwrap().qos_max, QOS0);
    assert_eq!(rights.subscribe(&filter("a/c")).unwrap().qos_max, QOS2);
}

#[test]
fn a_hostile_name_gains_nothing_by_an_allow_rule() {
    for name in ["+", "#", "sensor-1/..", "sensor-1/#", "a/b", "$SYS", "sensor-1\u{0}"] {
        let text = "[[rule]]\nname = \"own\"\naction = \"allow\"\npublish = [\"%u/#\", \"c/%c/#\"]\nsubscribe = [\"%u/#\"]\n";
        let own = rights(text, Some(name), name);
        for topic in ["sensor-1/x", "a/b/c", "c/a/b", "c/+/x", "$SYS/x"] {
            assert!(own.publish(topic.as_bytes(), QOS0, false).is_err(), "{name:?} publishes to {topic}");
        }
        for wanted in ["#", "+/#", "sensor-1/#", "$SYS/#", "a/b/#"] {
            assert!(own.subscribe(&filter(wanted)).is_err(), "{name:?} subscribes to {wanted}");
        }
    }
    let text = "[[rule]]\nname = \"own\"\naction = \"allow\"\npublish = [\"%u/#\"]\n";
    insta::assert_snapshot!(refusal(rights(text, Some("a#b"), "c").publish(b"a/x", QOS0, false)), @r#"not authorized (0x87): publishing to this topic is not allowed (rules.toml:1 "own" was passed over: the user name holds '#', so it is not filled in); rule: rules.toml default; a retry can help once something else has changed; missing: publish:a/x"#);
}

#[test]
fn a_hostile_name_gains_nothing_by_escaping_a_deny_rule() {
    let text = "[[rule]]\nname = \"locked\"\naction = \"deny\"\npublish = \"%u/locked\"\nsubscribe = \"%u/locked\"\n[[rule]]\naction = \"allow\"\npublish = \"#\"\nsubscribe = \"#\"\n";
    let honest = rights(text, Some("u"), "c");
    assert!(honest.publish(b"u/locked", QOS0, false).is_err() && honest.publish(b"v/locked", QOS0, false).is_ok());
    let hostile = rights(text, Some("a/b"), "c");
    insta::assert_snapshot!(refusal(hostile.publish(b"a/b/locked", QOS0, false)), @r#"not authorized (0x87): publishing to this topic is not allowed (the rule denies everything to this client: the user name holds '/', so it is not filled in); rule: rules.toml:1 "locked"; a retry can help once something else has changed; missing: publish:a/b/locked"#);
    assert!(hostile.publish(b"other", QOS0, false).is_err() && hostile.subscribe(&filter("$SYS/x")).is_err());
    // An anonymous client has no topics of its own that could be locked.
    assert!(rights(text, None, "c").publish(b"x", QOS0, false).is_ok());
}

#[test]
fn feedback_is_everybodys_to_read_and_nobodys_to_write() {
    let nothing = rights("[[rule]]\naction = \"allow\"\nconnect = true\n", Some("u"), "c");
    assert_eq!(nothing.subscribe(&filter("$feedback/#")), Ok(Grant { qos_max: QOS1, rule: None }));
    for rights in [&nothing, &Rights::open()] {
        let shared = refusal(rights.subscribe(&filter("$share/g/$feedback/#")));
        assert!(shared.contains("feedback is for one client and is not shared") && shared.contains("a retry cannot help"), "{shared}");
    }
    let all = rights("[[rule]]\naction = \"allow\"\npublish = [\"#\", \"$feedback/#\", \"$SYS/own\"]\n", Some("u"), "c");
    insta::assert_snapshot!(refusal(all.publish(b"$feedback/x", QOS0, false)), @"not authorized (0x87): publishing to this topic is not allowed (these topics are views that the server makes: nobody publishes there); a retry cannot help; missing: publish:$feedback/x");
    assert!(all.publish(b"$envelope/x", QOS0, false).is_err());
    assert!(all.publish(b"$SYS/own", QOS0, false).is_ok() && all.publish(b"$SYS/other", QOS0, false).is_err());
}

#[test]
fn a_default_of_allow_does_not_open_the_topics_of_the_server_to_publishers() {
    let rights = rights("default = \"allow\"\n", Some("u"), "c");
    assert_eq!(rights.publish(b"a", QOS2, true), Ok(Grant { qos_max: QOS2, rule: Some("rules.toml:1 default") }));
    insta::assert_snapshot!(refusal(rights.publish(b"$SYS/x", QOS0, false)), @"not authorized (0x87): publishing to this topic is not allowed (topics that begin with $ are the server's, unless a rule allows them); rule: rules.toml:1 default; a retry can help once something else has changed; missing: publish:$SYS/x");
}

#[test]
fn a_topic_of_maximum_length_does_not_make_a_refusal_of_that_length() {
    let rights = rights(SENSORS, Some("sensor-1"), "c1");
    let problem = rights.publish("λ".repeat(32_767).as_bytes(), QOS0, false).unwrap_err().problem;
    let scope = problem.missing_scope.clone().unwrap();
    assert!(scope.len() < 1100 && scope.ends_with("..."), "{}", scope.len());
}

proptest! {
    /// Whatever the rules: what a granted filter brings is what the rules would grant topic by topic.
    #[test]
    fn a_granted_filter_brings_no_topic_that_is_denied(
        rules in prop::collection::vec((any::<bool>(), prop::collection::vec(world::pattern(), 1..3)), 1..5),
        default in any::<bool>(),
        wanted in world::pattern(),
    ) {
        let word = |allow: bool| if allow { "allow" } else { "deny" };
        let mut text = format!("default = \"{}\"\n", word(default));
        for (allow, patterns) in &rules {
            text += &format!("[[rule]]\naction = \"{}\"\nsubscribe = {patterns:?}\npublish = {patterns:?}\n", word(*allow));
        }
        let rights = rights(&text, Some("u"), "c");
        let allowed = |topic: &str| {
            let first = rules.iter().find(|(_, patterns)| patterns.iter().any(|p| pattern_matches(p.as_bytes(), topic.as_bytes())));
            first.map_or(default, |(allow, _)| *allow)
        };
        let granted = rights.subscribe(&filter(&wanted)).is_ok();
        for topic in world::topics() {
            if granted && pattern_matches(wanted.as_bytes(), topic.as_bytes()) {
                prop_assert!(allowed(&topic), "{} brings {} under\n{}", wanted, topic, text);
            }
            // A topic alone is decided exactly; under the default, the server's own topics stay closed to publishers.
            prop_assert_eq!(rights.subscribe(&filter(&topic)).is_ok(), allowed(&topic), "{} under\n{}", topic, text);
            let published = rights.publish(topic.as_bytes(), QOS0, false).is_ok();
            prop_assert!(published == allowed(&topic) || (topic.starts_with('$') && default && !published), "{} under\n{}", topic, text);
        }
    }
}
