//! Sections of the file: listeners and namespaces.

use super::tests::{flag, from_file, refused, warnings};
use super::*;
use crate::config::listener::{Disclosure, Extended};
use candor_protocol::packet::profile::{Durability, Overflow};

#[test]
fn keys_below_a_section_are_told_where_they_belong() {
    insta::assert_snapshot!(refused("[[listener]]\nurl = \"mqtt://127.0.0.1:1\"\nthreads = 2\ndisclosur = \"code\"\ncolour = 1\n[[listener]]\nanonymous = \"never\"\n[[listener]]\nurl = 5\n"), @r#"
    etc/candor.toml:3:1: `threads` holds for the whole server, not for one listener
      |
    3 | threads = 2
      | ^^^^^^^
      help: move it above the first [[listener]]
    etc/candor.toml:4:1: a listener has no option `disclosur`
      |
    4 | disclosur = "code"
      | ^^^^^^^^^
      allowed: url, extended, disclosure, tls_cert, tls_key, tls_development, tls_min, tls_client_ca, tls_client_required, anonymous, durability, refused_publish_plain
      help: did you mean `disclosure`?
    etc/candor.toml:5:1: a listener has no option `colour`
      |
    5 | colour = 1
      | ^^^^^^
      allowed: url, extended, disclosure, tls_cert, tls_key, tls_development, tls_min, tls_client_ca, tls_client_required, anonymous, durability, refused_publish_plain
    etc/candor.toml:6:1: this listener has no url
      |
    6 | [[listener]]
      | ^^^^^^^^^^^^
      allowed: mqtt://HOST:PORT, mqtts://HOST:PORT, ws://HOST:PORT/PATH or wss://HOST:PORT/PATH; IPv6 in brackets; port 0: any free one
    etc/candor.toml:9:7: url: this is a whole number
      |
    9 | url = 5
      |       ^
      allowed: mqtt://HOST:PORT, mqtts://HOST:PORT, ws://HOST:PORT/PATH or wss://HOST:PORT/PATH; IPv6 in brackets; port 0: any free one
    "#);
}

#[test]
fn a_single_table_is_not_a_section() {
    insta::assert_snapshot!(refused("[listener]\nurl = \"mqtt://127.0.0.1:1\"\n"), @r#"
    etc/candor.toml:1:1: `listener` is a table here
      |
    1 | [listener]
      | ^^^^^^^^^^
      help: each listener has a section of its own: write [[listener]]
    "#);
}

#[test]
fn a_section_has_its_own_policy_and_inherits_the_rest() {
    let text = r#"
disclosure = "code"
extended = "off"
[[listener]]
url = "mqtt://127.0.0.1:1883"
disclosure = "opaque"
[[listener]]
url = "ws://127.0.0.1:0"
extended = "required"
"#;
    let listeners = from_file(text).unwrap().config.listeners;
    let policies: Vec<_> = listeners.iter().map(|listener| (listener.disclosure, listener.extended)).collect();
    assert_eq!(policies, [(Disclosure::Opaque, Extended::Off), (Disclosure::Code, Extended::Required)]);
}

#[test]
fn a_listener_has_a_durability_of_its_own_and_the_store_keeps_the_most() {
    let section = |port: u16, durability: &str| format!("[[listener]]\nurl = \"mqtt://127.0.0.1:{port}\"\n{durability}");
    let text = format!("durability = \"memory\"\n{}{}", section(1, "durability = \"none\"\n"), section(2, ""));
    let durabilities = |config: &Config| config.listeners.iter().map(|listener| listener.durability).collect::<Vec<_>>();
    let config = from_file(&text).unwrap().config;
    assert_eq!((durabilities(&config), config.durability()), (vec![Durability::None, Durability::Memory], Durability::Memory));
    // What a section says for itself stays under a flag.
    let source = Source::new("x", &*text);
    let config = resolve(&[flag("durability", "disk")], Some(&source), &Available::default()).unwrap().config;
    assert_eq!((durabilities(&config), config.durability()), (vec![Durability::None, Durability::Disk], Durability::Disk));
    // Where one listener writes to disk, the folder has an effect.
    let text = format!("data_dir = \"d\"\n{}{}", section(1, "durability = \"memory\"\n"), section(2, ""));
    assert_eq!(warnings(&text), "");
    let memory = Available { durabilities: &[Durability::None, Durability::Memory], experiments: &[] };
    let text = format!("durability = \"memory\"\n{}{}", section(1, "durability = \"disk\"\n"), section(2, ""));
    let found = resolve(&[], Some(&Source::new("x", text)), &memory).unwrap_err().to_string();
    assert!(found.starts_with("x:4:14: no engine of this build keeps what durability disk promises"), "{found}");
}

#[test]
fn a_namespace_has_the_limits_that_its_section_sets_and_the_overflow_of_the_server() {
    let text = r#"
queue_length_max = 500
overflow = "hold-back"
[[namespace]]
filter = "telemetry/#"
queue_length_max = 10
message_expiry_max_s = "5m"
[[namespace]]
filter = "+/#"
queue_bytes_max = "11MiB"
overflow = "drop-newest"
"#;
    let loaded = from_file(text).unwrap_or_else(|found| panic!("{found}"));
    assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
    let filter = |text: &str| candor_protocol::packet::TopicFilter::new(text).unwrap();
    assert_eq!(
        loaded.config.namespaces,
        [
            Namespace {
                filter: filter("telemetry/#"),
                queue_length_max: Some(10),
                queue_bytes_max: None,
                overflow: Overflow::HoldBack,
                message_expiry_max_s: Some(300),
            },
            Namespace {
                filter: filter("+/#"),
                queue_length_max: None,
                queue_bytes_max: Some(11 << 20),
                overflow: Overflow::DropNewest,
                message_expiry_max_s: None,
            },
        ]
    );
    // What a section sets is not the server's, and listeners are as they were.
    assert_eq!((loaded.config.limits.queue_length_max, loaded.config.listeners.len()), (500, 1));
    insta::assert_snapshot!(check::report(&loaded), @r"
    listener mqtt://127.0.0.1:1883  durability disk, anonymous loopback, extended on, disclosure full
    namespace telemetry/#  queue_length_max 10, overflow hold-back, message_expiry_max_s 5m
    namespace +/#  queue_bytes_max 11MiB, overflow drop-newest
    queue_length_max = 500  (etc/candor.toml:2:20)
    overflow = hold-back  (etc/candor.toml:3:12)
    ");
}

#[test]
fn what_is_wrong_with_a_namespace_is_told_with_its_place() {
    insta::assert_snapshot!(refused(
        r#"
[[namespace]]
filter = "a/#"
queue_length = 5
threads = 2
anonymous = "never"
[[namespace]]
filter = "$share/g/a"
[[namespace]]
queue_length_max = 5
[[namespace]]
filter = "a/#"
queue_bytes_max = "1MiB"
[[namespace]]
filter = "a/#/b"
queue_length_max = 0
"#
    ), @r#"
    etc/candor.toml:4:1: a namespace has no option `queue_length`
      |
    4 | queue_length = 5
      | ^^^^^^^^^^^^
      allowed: filter, queue_length_max, queue_bytes_max, overflow, message_expiry_max_s
      help: did you mean `queue_length_max`?
    etc/candor.toml:5:1: `threads` holds for the whole server, not for one namespace
      |
    5 | threads = 2
      | ^^^^^^^
      help: move it above the first [[namespace]]
    etc/candor.toml:6:1: `anonymous` is a listener's, not a namespace's
      |
    6 | anonymous = "never"
      | ^^^^^^^^^
      help: move it above the first [[namespace]]
    etc/candor.toml:8:10: filter: `$share/g/a` is shared
      |
    8 | filter = "$share/g/a"
      |          ^^^^^^^^^^^^
      allowed: a topic filter, without $share/
    etc/candor.toml:9:1: this namespace has no filter
      |
    9 | [[namespace]]
      | ^^^^^^^^^^^^^
      allowed: a topic filter, without $share/
    etc/candor.toml:12:10: the namespace a/# has a section already, and the first that matches a topic counts
       |
    12 | filter = "a/#"
       |          ^^^^^
      allowed: one section for each filter
    etc/candor.toml:13:19: packet_size_max (10MiB) is more than queue_bytes_max (1MiB): a message would be taken that no queue can hold
       |
    13 | queue_bytes_max = "1MiB"
       |                   ^^^^^^
      allowed: queue_bytes_max of at least packet_size_max
    etc/candor.toml:15:10: filter: `a/#/b` `#` must be the whole of the last level
       |
    15 | filter = "a/#/b"
       |          ^^^^^^^
      allowed: a topic filter, without $share/
    "#);
    assert!(refused("namespace = \"a/#\"\n").contains("each namespace has a section of its own: write [[namespace]]"));
    let idle = warnings("[[namespace]]\nfilter = \"a\"\noverflow = \"hold-back\"\n");
    assert!(idle.starts_with("etc/candor.toml:3:12: warning: overflow has no effect"), "{idle}");
    let small = refused("packet_size_max = \"many\"\n[[namespace]]\nfilter = \"a\"\nqueue_bytes_max = \"1KiB\"\n");
    assert_eq!(small.matches("candor.toml:").count(), 1, "what follows from a refused value is not told again: {small}");
}
