use super::*;

fn parse(text: &str) -> Result<(Rules, Diagnostics), Diagnostics> {
    Rules::parse(&Source::new("etc/rules.toml", text))
}

fn refused(text: &str) -> String {
    parse(text).map(|(rules, _)| format!("{rules:?}")).unwrap_err().to_string()
}

#[test]
fn the_example_is_a_rules_file_and_shows_every_key() {
    let (rules, warnings) = parse(EXAMPLE).unwrap();
    assert!(warnings.is_empty(), "{warnings}");
    assert_eq!(rules.len(), 4);
    for key in KEYS {
        assert!(EXAMPLE.lines().any(|line| line.starts_with(&format!("{key} = "))), "{key}");
    }
    let labels: Vec<_> = rules.iter().map(|rule| &*rule.label).collect();
    assert_eq!(labels[0], "rules.toml:11 \"nobody stops the plant from afar\"");
    assert_eq!(&*rules.default_label, "rules.toml:4 default");
}

#[test]
fn a_rule_is_about_whom_it_names() {
    let about = |who: &str, user: Option<&str>, client_id: &str| {
        let groups = "[groups]\nops = [\"alice\", \"op-*\"]\n";
        let (rules, _) =
            parse(&format!("{groups}[[rule]]\naction = \"allow\"\nconnect = true\n{who}\n")).unwrap_or_else(|found| panic!("{found}"));
        rules.rule(0).unwrap().is_about(user, client_id)
    };
    // Nobody named: everybody.
    assert!(about("", Some("x"), "c") && about("", None, "c"));
    assert!(about("user = \"x*\"", Some("xy"), "c") && !about("user = \"x*\"", Some("y"), "c"));
    assert!(about("user = \"*\"", Some("y"), "c") && !about("user = \"*\"", None, "c"));
    assert!(about("anonymous = true", None, "c") && !about("anonymous = true", Some("x"), "c"));
    assert!(about("anonymous = true\nuser = \"x\"", None, "c") && about("anonymous = true\nuser = \"x\"", Some("x"), "c"));
    assert!(about("group = \"ops\"", Some("op-7"), "c") && !about("group = \"ops\"", Some("bob"), "c"));
    assert!(about("group = \"ops\"\nuser = \"bob\"", Some("bob"), "c"));
    assert!(about("client_id = \"%u-*\"", Some("x"), "x-1") && !about("client_id = \"%u-*\"", Some("x"), "y-1"));
    assert!(!about("client_id = \"%u-*\"", None, "-1"));
    // A `*` in a client's own name is no wildcard.
    assert!(!about("client_id = \"%u\"", Some("*"), "victim"));
}

#[test]
fn everything_wrong_is_told_at_once() {
    insta::assert_snapshot!(refused(r#"
defualt = "deny"
default = "forbid"
[groups]
ops = ["a", 5]
none = []
[[rule]]
action = "alow"
publish = ["a"]
[[rule]]
publish = ["a"]
[[rule]]
action = "allow"
[[rule]]
action = "deny"
publish = ["a/#/b", "x/%y", ""]
qos_max = 1
[[rule]]
action = "allow"
topics = ["a"]
user = "%u"
group = "opps"
client_id = []
connect = "yes"
subscribe = 7
qos_max = 3
name = ""
[[rule]]
action = "allow"
anonymous = false
publish = "$share/g/a"
"#), @r#"
    etc/rules.toml:2:1: a rules file has no key `defualt`
      |
    2 | defualt = "deny"
      | ^^^^^^^
      allowed: default, groups, rule
      help: did you mean `default`?
    etc/rules.toml:3:11: default: `forbid` is not an action
      |
    3 | default = "forbid"
      |           ^^^^^^^^
      allowed: allow, deny
    etc/rules.toml:5:13: ops: this is a whole number
      |
    5 | ops = ["a", 5]
      |             ^
      allowed: text, or an array of texts
    etc/rules.toml:6:8: none: the list is empty
      |
    6 | none = []
      |        ^^
      allowed: one pattern or more, or no such key
    etc/rules.toml:8:10: action: `alow` is not an action
      |
    8 | action = "alow"
      |          ^^^^^^
      allowed: allow, deny
      help: did you mean `allow`?
    etc/rules.toml:10:1: this rule has no action
       |
    10 | [[rule]]
       | ^^^^^^^^
      allowed: action = "allow" or "deny"
    etc/rules.toml:12:1: this rule decides nothing
       |
    12 | [[rule]]
       | ^^^^^^^^
      allowed: connect = true, publish, subscribe
    etc/rules.toml:16:12: publish: `a/#/b` is not a pattern: `#` must be the whole of the last level
       |
    16 | publish = ["a/#/b", "x/%y", ""]
       |            ^^^^^^^
      allowed: a topic filter in which %u (user name), %c (client identifier) and %% may stand
    etc/rules.toml:16:21: publish: `x/%y` is not a pattern: `%y` stands for nothing
       |
    16 | publish = ["a/#/b", "x/%y", ""]
       |                     ^^^^^^
      allowed: a topic filter in which %u (user name), %c (client identifier) and %% may stand
    etc/rules.toml:16:29: publish: `` is not a pattern: it is empty
       |
    16 | publish = ["a/#/b", "x/%y", ""]
       |                             ^^
      allowed: a topic filter in which %u (user name), %c (client identifier) and %% may stand
    etc/rules.toml:17:1: qos_max stands in a deny rule, which denies whatever it is about
       |
    17 | qos_max = 1
       | ^^^^^^^
      allowed: qos_max, retain and will in allow rules
    etc/rules.toml:20:1: a rule has no key `topics`
       |
    20 | topics = ["a"]
       | ^^^^^^
      allowed: name, action, user, group, anonymous, client_id, connect, publish, subscribe, qos_max, retain, will
    etc/rules.toml:21:8: user: `%u` is not a pattern: `%u` stands for nothing
       |
    21 | user = "%u"
       |        ^^^^
      allowed: text in which `*` may stand
    etc/rules.toml:22:9: no group is called `opps`
       |
    22 | group = "opps"
       |         ^^^^^^
      allowed: none, ops
      help: did you mean `ops`?
    etc/rules.toml:23:13: client_id: the list is empty
       |
    23 | client_id = []
       |             ^^
      allowed: one pattern or more, or no such key
    etc/rules.toml:24:11: connect: this is text
       |
    24 | connect = "yes"
       |           ^^^^^
      allowed: true or false, without quotation marks
    etc/rules.toml:25:13: subscribe: this is a whole number
       |
    25 | subscribe = 7
       |             ^
      allowed: text, or an array of texts
    etc/rules.toml:26:11: qos_max: this is not a QoS
       |
    26 | qos_max = 3
       |           ^
      allowed: 0, 1, 2, without quotation marks
    etc/rules.toml:27:8: name: this is not the name of a rule
       |
    27 | name = ""
       |        ^^
      allowed: text of 1 to 100 characters, none of them a control character
    etc/rules.toml:30:13: anonymous = false leaves open who the rule is about
       |
    30 | anonymous = false
       |             ^^^^^
      help: write user = "*" for every client that has a name
    etc/rules.toml:31:11: publish: `$share/g/a` is not a pattern: rights are about topics: leave out $share/GROUP/
       |
    31 | publish = "$share/g/a"
       |           ^^^^^^^^^^^^
      allowed: a topic filter in which %u (user name), %c (client identifier) and %% may stand
    "#);
}

#[test]
fn a_single_rule_table_is_told_to_be_a_list() {
    insta::assert_snapshot!(refused("groups = 5\n[rule]\naction = \"allow\"\n"), @r#"
    etc/rules.toml:1:10: `groups` is a whole number here
      |
    1 | groups = 5
      |          ^
      allowed: [groups], and below it NAME = ["user", ...]
    etc/rules.toml:2:1: `rule` is a table here
      |
    2 | [rule]
      | ^^^^^^
      help: each rule has a section of its own: write [[rule]]
    "#);
}

#[test]
fn a_line_that_is_not_toml_hides_no_other_error_and_makes_none_up() {
    insta::assert_snapshot!(refused("[[rule]]\naction \"allow\"\npublish = [\"a\"]\n[[rule]]\naction = \"deny\"\npublish = [\"a/##\"]\n"), @r#"
    etc/rules.toml:2:8: key with no value
      |
    2 | action "allow"
      |        ^
      allowed: `=`
    etc/rules.toml:6:12: publish: `a/##` is not a pattern: `#` must be the whole of the last level
      |
    6 | publish = ["a/##"]
      |            ^^^^^^
      allowed: a topic filter in which %u (user name), %c (client identifier) and %% may stand
    "#);
}

#[test]
fn a_group_within_a_group_is_told_to_be_none() {
    let (_, warnings) = parse("[groups]\na = [\"b\"]\nb = [\"a\"]\n[[rule]]\naction = \"allow\"\nconnect = true\ngroup = \"a\"\n").unwrap();
    insta::assert_snapshot!(warnings.to_string(), @r#"
    etc/rules.toml:2:6: warning: `b` is the name of a group too; here it is the user of that name
      |
    2 | a = ["b"]
      |      ^^^
      help: groups do not contain groups: list the users, or name both groups in the rule
    etc/rules.toml:3:6: warning: `a` is the name of a group too; here it is the user of that name
      |
    3 | b = ["a"]
      |      ^^^
      help: groups do not contain groups: list the users, or name both groups in the rule
    "#);
}

#[test]
fn an_empty_file_denies_everything_and_says_so() {
    let (rules, warnings) = parse("").unwrap();
    assert_eq!((rules.len(), rules.default), (0, Action::Deny));
    assert_eq!(warnings.to_string(), "etc/rules.toml: warning: it has no rule: nobody can connect\n  help: rules begin with [[rule]]");
    assert!(parse("default = \"allow\"\n").unwrap().1.is_empty());
}

#[test]
fn hostile_files_end_in_errors_and_in_time() {
    let cases = [
        "\0".to_owned(),
        format!("[[rule]]\naction = \"allow\"\npublish = [{}]\n", "\"a/#/b\",".repeat(20_000)),
        format!("[[rule]]\nname = \"{}\"\naction = \"allow\"\nconnect = true\n", "n".repeat(1_000_000)),
        format!("[[rule]]\naction = \"allow\"\npublish = \"{}\"\n", "p".repeat(1_000_000)),
        "[[rule]]\n".repeat(20_000),
        "[[rule]]\nname = \"a\\u0007b\"\naction = \"allow\"\nconnect = true\n".to_owned(),
        "[[rule]]\naction = \"allow\"\npublish = \"a\\u0000\"\n".to_owned(),
        format!("[groups]\n{}", "x = [\"y\"]\n".repeat(20_000)),
    ];
    let start = std::time::Instant::now();
    for text in cases {
        let found = refused(&text);
        assert!(found.contains("etc/rules.toml:") && found.len() < 100_000, "{}", found.len());
    }
    assert!(start.elapsed().as_secs() < 60, "{:?}", start.elapsed());
}
