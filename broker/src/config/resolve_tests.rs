use super::*;
use crate::config::diagnostic::Severity;
use crate::config::listener::{Anonymous, Identity, TlsMin};
use candor_protocol::packet::profile::{Durability, Overflow};

pub(super) fn from_file(text: &str) -> Result<Loaded, Diagnostics> {
    resolve(&[], Some(&Source::new("etc/candor.toml", text)), &Available::default())
}

pub(super) fn refused(text: &str) -> String {
    from_file(text).map(|loaded| format!("{:?}", loaded.config)).unwrap_err().to_string()
}

pub(super) fn warnings(text: &str) -> String {
    from_file(text).unwrap_or_else(|found| panic!("{found}")).warnings.to_string()
}

pub(super) fn flag(name: &str, text: &str) -> Written {
    let option = named(name).unwrap();
    Written { option, text: text.into(), origin: Origin::Flag(option.flag()) }
}

#[test]
fn nothing_said_is_a_server_for_this_machine() {
    let loaded = resolve(&[], None, &Available::default()).unwrap();
    assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
    let config = loaded.config;
    let listeners: Vec<_> = config.listeners.iter().map(|listener| listener.url.to_string()).collect();
    assert_eq!(listeners, ["mqtt://127.0.0.1:1883"]);
    assert_eq!(config.listeners[0].anonymous, Anonymous::Loopback);
    assert_eq!((config.durability(), config.storage.data_dir), (Durability::Disk, None));
    assert_eq!(config.limits.packet_size_max, 10 << 20);
    assert_eq!((config.limits.queue_length_max, config.limits.overflow), (1000, Overflow::DropOldest));
    assert_eq!(config.plain.session_expiry_s, 7 * 86_400);
}

#[test]
fn a_flag_overrides_the_file_and_the_file_overrides_the_default() {
    let file = Source::new("candor.toml", "queue_length_max = 5\nthreads = 7\nlisten = [\"mqtt://127.0.0.1:1\", \"ws://127.0.0.1:2\"]\n");
    let flags = [flag("threads", "3"), flag("listen", "mqtt://127.0.0.1:0")];
    let loaded = resolve(&flags, Some(&file), &Available::default()).unwrap();
    assert_eq!((loaded.config.threads, loaded.config.limits.queue_length_max), (3, 5));
    assert_eq!(loaded.config.listeners.len(), 1);
    let origin =
        |name: &str| loaded.settings.iter().find(|s| s.option.name == name).map(|s| (s.origin.to_string(), s.text.clone())).unwrap();
    assert_eq!(origin("threads"), ("--threads".into(), "3".into()));
    assert_eq!(origin("queue_length_max"), ("candor.toml:1:20".into(), "5".into()));
    assert_eq!(origin("listen"), ("--listen".into(), "mqtt://127.0.0.1:0".into()));
    assert_eq!(origin("send_window"), ("default".into(), "100".into()));
}

#[test]
fn every_wrong_line_is_told_at_once() {
    insta::assert_snapshot!(refused(
        r#"
packet_size_mx = "10MiB"
packet_size_max = "10M"
queue_length_max = 0
threads = "2"
overflow = "drop-olest"
log = "inof"
keep_alive_max_s = "20h"
tls_min = 1.3
anonymous = true
check = true
listen = ["mqtt://127.0.0.1:1883", "http://x", 7]
colour = "blue"
"#
    ), @r#"
    etc/candor.toml:2:1: no option is called `packet_size_mx`
      |
    2 | packet_size_mx = "10MiB"
      | ^^^^^^^^^^^^^^
      help: did you mean `packet_size_max`?
    etc/candor.toml:3:19: packet_size_max: `10M` could mean two things: write 10MiB (10 x 1048576) or 10MB (10 x 1000000)
      |
    3 | packet_size_max = "10M"
      |                   ^^^^^
      allowed: a whole number of bytes, or one with a unit: 512KiB, 10MiB, 1GiB (or kB, MB, GB for powers of 1000), 1KiB to 268435460
    etc/candor.toml:4:20: queue_length_max: `0` is too small
      |
    4 | queue_length_max = 0
      |                    ^
      allowed: a whole number, 1 to 100000000
    etc/candor.toml:5:11: threads: this is text
      |
    5 | threads = "2"
      |           ^^^
      allowed: a whole number, 1 to 1024
      help: write 2, without quotation marks
    etc/candor.toml:6:12: overflow: `drop-olest` is not one of the choices
      |
    6 | overflow = "drop-olest"
      |            ^^^^^^^^^^^^
      allowed: drop-oldest, drop-newest, refuse-publisher, hold-back
      help: did you mean `drop-oldest`?
    etc/candor.toml:7:7: log: `inof` is not a level; did you mean `info`?
      |
    7 | log = "inof"
      |       ^^^^^^
      allowed: error, warn, info, debug, trace, off, or a filter such as info,candor_broker::session=debug
    etc/candor.toml:8:20: keep_alive_max_s: `20h` is too large
      |
    8 | keep_alive_max_s = "20h"
      |                    ^^^^^
      allowed: a whole number of seconds, or one with a unit: 30s, 5m, 12h, 7d, 2w, 1h30m, 10s to 65535s
    etc/candor.toml:9:11: tls_min: this is a number with a point
      |
    9 | tls_min = 1.3
      |           ^^^
      allowed: 1.2, 1.3
      help: write "1.3", in quotation marks
    etc/candor.toml:10:13: anonymous: this is true or false
       |
    10 | anonymous = true
       |             ^^^^
      allowed: loopback, never, always
    etc/candor.toml:11:1: `check` is a flag of the command line, not an option of a file
       |
    11 | check = true
       | ^^^^^
    etc/candor.toml:12:36: listen: `http://x` is not the URL of a listener: scheme "http" is not known; use mqtt, mqtts, ws or wss
       |
    12 | listen = ["mqtt://127.0.0.1:1883", "http://x", 7]
       |                                    ^^^^^^^^^^
      allowed: mqtt://HOST:PORT, mqtts://HOST:PORT, ws://HOST:PORT/PATH or wss://HOST:PORT/PATH; IPv6 in brackets; port 0: any free one
    etc/candor.toml:12:48: listen: this is a whole number
       |
    12 | listen = ["mqtt://127.0.0.1:1883", "http://x", 7]
       |                                                ^
      allowed: text, or an array of texts
    etc/candor.toml:13:1: no option is called `colour`
       |
    13 | colour = "blue"
       | ^^^^^^
      allowed: the options that `candor-broker --help-config` prints
    "#);
}

#[test]
fn flags_for_listeners_replace_the_sections_but_not_the_search_for_errors() {
    let good = Source::new("x", "[[listener]]\nurl = \"mqtt://127.0.0.1:1\"\n");
    let flags = [flag("listen", "ws://127.0.0.1:0"), flag("listen", "mqtt://127.0.0.1:0")];
    let config = resolve(&flags, Some(&good), &Available::default()).unwrap().config;
    assert_eq!(config.listeners.iter().map(|l| l.url.to_string()).collect::<Vec<_>>(), ["ws://127.0.0.1:0/mqtt", "mqtt://127.0.0.1:0"]);
    let bad = Source::new("x", "[[listener]]\nurl = \"mqtt://127.0.0.1:1\"\ntls_min = \"1.1\"\n");
    let found = resolve(&flags, Some(&bad), &Available::default()).unwrap_err().to_string();
    assert!(found.starts_with("x:3:11: tls_min: `1.1` is not one of the choices"), "{found}");
}

#[test]
fn paths_in_a_file_are_relative_to_its_folder() {
    let loaded = from_file("rules_file = \"r.toml\"\npassword_file = \"/abs/p\"\n").unwrap();
    assert_eq!(loaded.config.access.rules_file.as_deref(), Some(Path::new("etc/r.toml")));
    assert_eq!(loaded.config.access.password_file.as_deref(), Some(Path::new("/abs/p")));
    let flags = [flag("rules_file", "r.toml")];
    let loaded = resolve(&flags, None, &Available::default()).unwrap();
    assert_eq!(loaded.config.access.rules_file.as_deref(), Some(Path::new("r.toml")));
}

#[test]
fn a_durability_that_no_engine_proves_is_refused_with_what_there_is() {
    let memory = Available { durabilities: &[Durability::None, Durability::Memory], experiments: &[] };
    let found = resolve(&[flag("durability", "disk"), flag("data_dir", "d")], None, &memory).unwrap_err().to_string();
    assert_eq!(found, "--durability: no engine of this build keeps what durability disk promises\n  allowed: none, memory");
    assert!(resolve(&[flag("durability", "disk")], None, &Available::default()).unwrap().warnings.is_empty());
    assert!(
        warnings("durability = \"memory\"\ndata_dir = \"d\"\n")
            .starts_with("etc/candor.toml:2:12: warning: data_dir has no effect: under durability memory nothing")
    );
}

#[test]
fn limits_that_contradict_each_other_are_told_once_and_with_both_values() {
    insta::assert_snapshot!(refused("packet_size_max = \"20MiB\"\nsession_expiry_plain_s = \"60d\"\nquarantine_first_s = \"2h\"\n"), @r#"
    etc/candor.toml:1:19: packet_size_max (20MiB) is more than queue_bytes_max (16MiB): a message would be taken that no queue can hold
      |
    1 | packet_size_max = "20MiB"
      |                   ^^^^^^^
      allowed: packet_size_max of at most queue_bytes_max
    etc/candor.toml:2:26: session_expiry_plain_s (60d) is more than session_expiry_max_s (30d): a plain session would be kept longer than any may be
      |
    2 | session_expiry_plain_s = "60d"
      |                          ^^^^^
      allowed: session_expiry_plain_s of at most session_expiry_max_s
    etc/candor.toml:3:22: quarantine_first_s (2h) is more than quarantine_max_s (1h): the first time would be longer than the longest
      |
    3 | quarantine_first_s = "2h"
      |                      ^^^^
      allowed: quarantine_first_s of at most quarantine_max_s
    "#);
    // What follows from a refused value is not told again.
    assert_eq!(refused("packet_size_max = \"20MiB\"\nqueue_bytes_max = \"lots\"\n").matches("candor.toml:").count(), 1);
    // A default follows.
    assert_eq!(from_file("session_expiry_max_s = \"1d\"\n").unwrap().config.plain.session_expiry_s, 86_400);
    assert!(from_file("session_expiry_max_s = \"forever\"\nsession_expiry_plain_s = \"forever\"\n").is_ok());
}

#[test]
fn a_tls_listener_without_a_certificate_says_what_it_needs() {
    let tls = "[[listener]]\nurl = \"mqtts://127.0.0.1:0\"\n";
    assert!(refused(tls).contains("etc/candor.toml:2:7: mqtts://127.0.0.1:0 has no certificate"), "{}", refused(tls));
    let half = refused(&format!("{tls}tls_cert = \"c.pem\"\n"));
    assert!(half.contains("etc/candor.toml:3:12: tls_cert without tls_key"), "{half}");
    let missing = refused(&format!("{tls}tls_cert = \"c.pem\"\ntls_key = \"k.pem\"\n"));
    assert!(missing.contains("etc/c.pem cannot be read: No such file") && missing.contains("etc/k.pem cannot be read"), "{missing}");
    let both = refused(&format!("{tls}tls_cert = \"c.pem\"\ntls_key = \"k.pem\"\ntls_development = \"d\"\n"));
    assert!(both.contains("tls_development stands beside tls_cert or tls_key"), "{both}");
    let required = refused(&format!("{tls}tls_development = \"d\"\ntls_client_required = true\n"));
    assert!(required.contains("client certificates are required, and no authority is named"), "{required}");
}

#[test]
fn a_section_with_one_kind_of_certificate_does_not_inherit_the_other() {
    let text =
        "tls_cert = \"c\"\ntls_key = \"k\"\n[[listener]]\nurl = \"mqtts://127.0.0.1:0\"\ntls_development = \"dev\"\ntls_min = \"1.2\"\n";
    let tls = from_file(text).unwrap().config.listeners[0].tls.clone().unwrap();
    assert_eq!(tls.identity, Identity::Development { dir: "etc/dev".into() });
    assert_eq!(tls.min, TlsMin::V1_2);
}

#[test]
fn a_pem_file_without_what_it_should_hold_is_refused() {
    let dir = std::env::temp_dir().join(format!("candor-resolve-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join("c.pem"), "no PEM at all").unwrap();
    let source = Source::new(
        dir.join("x.toml").display().to_string(),
        "listen = [\"mqtts://127.0.0.1:0\"]\ntls_cert = \"c.pem\"\ntls_key = \"c.pem\"\n",
    );
    let found = resolve(&[], Some(&source), &Available::default()).unwrap_err().to_string();
    std::fs::remove_dir_all(&dir).unwrap();
    assert!(found.contains("c.pem holds no certificate") && found.contains("c.pem holds no private key"), "{found}");
}

#[test]
fn tls_options_of_a_plain_listener_are_told_to_have_no_effect() {
    let text = "[[listener]]\nurl = \"mqtt://127.0.0.1:0\"\ntls_min = \"1.2\"\n";
    assert!(warnings(text).starts_with("etc/candor.toml:3:11: warning: tls_min has no effect: mqtt:// is not TLS"), "{}", warnings(text));
}

#[test]
fn who_opens_a_listener_is_told_who_is_let_in() {
    let open = "listen = [\"mqtt://0.0.0.0:0\"]\n";
    assert!(warnings(open).contains("warning: only clients of this machine can connect to mqtt://0.0.0.0:0"), "{}", warnings(open));
    let always = warnings(&format!("{open}anonymous = \"always\"\n"));
    assert!(always.contains("2:13: warning: everybody who reaches mqtt://0.0.0.0:0 is served without credentials"), "{always}");
    let passwords = warnings(&format!("{open}password_file = \"p\"\n"));
    assert!(passwords.contains("passwords cross the network in the clear") && passwords.contains("help: mqtts://"), "{passwords}");
    let nobody = refused("anonymous = \"never\"\n");
    assert!(nobody.contains("nobody can connect to mqtt://127.0.0.1:1883"), "{nobody}");
    let all = from_file(open).unwrap().warnings;
    assert!(all.iter().all(|diagnostic| diagnostic.severity == Severity::Warning));
}

#[test]
fn two_listeners_at_one_place_and_none_at_all_are_refused() {
    let twice = refused("listen = [\"mqtt://127.0.0.1:1883\", \"ws://127.0.0.1:1883\"]\n");
    assert!(twice.contains("ws://127.0.0.1:1883/mqtt and mqtt://127.0.0.1:1883 are at the same place"), "{twice}");
    assert!(from_file("listen = [\"mqtt://127.0.0.1:0\", \"mqtt://127.0.0.1:0\"]\n").is_ok());
    assert!(refused("listen = []\n").contains("nothing is served: there is no listener"));
}

#[test]
fn an_experiment_must_be_known_to_this_build() {
    let available = Available { experiments: &["x-trace", "x-delta"], ..Available::default() };
    let found = resolve(&[flag("experiments", "x-trcae")], None, &available).unwrap_err().to_string();
    assert_eq!(found, "--experiments: no experiment is called `x-trcae`\n  allowed: x-trace, x-delta\n  help: did you mean `x-trace`?");
    let loaded = resolve(&[flag("experiments", "x-trace"), flag("experiments", "x-delta")], None, &available).unwrap();
    assert_eq!(loaded.config.experiments, ["x-trace", "x-delta"]);
    assert!(refused("experiments = [\"x\"]\n").contains("allowed: this build has none"));
}

#[test]
fn more_connections_than_open_files_are_refused_with_both_numbers() {
    let possible = crate::config::machine::connections_possible(3, 1);
    if possible < 10_000_000 {
        let found = refused("threads = 3\nconnections_max = 10000000\nconnections_pending_max = 7\n");
        assert!(found.contains("connections_max (10000000) and connections_pending_max (7) together need more open files"), "{found}");
        assert!(found.contains(&format!("at most {possible} together")), "{found}");
        let found = refused("connections_pending_max = 10000000\n");
        assert!(found.contains(":1:27: connections_max ("), "{found}");
    }
}

#[test]
fn hostile_files_end_in_errors() {
    let cases = [
        "\0\0\0".to_owned(),
        format!("a = \"{}\"", "x".repeat(1_000_000)),
        format!("listen = [{}]", "\"x\",".repeat(20_000)),
        "[[listener]]\n".repeat(20_000),
        format!("{} = 1", "k".repeat(1_000_000)),
        "a.".repeat(20_000),
        "queue_length_max = 99999999999999999999999999999999999999999999999999\n".into(),
        "queue_length_max = 0xffffffffffffffffffffff\n".into(),
        "queue_length_max = -5\nsend_window = 1.5\nthreads = 1979-05-27\nnode = \"\"\n".into(),
        "password_file = \"\\u0000\"\n".into(),
        "threads = {}\nnode = []\nlisten = {a = 1}\nlog = [\"info\"]\n".into(),
    ];
    for text in cases {
        let found = refused(&text);
        assert!(
            found.contains("etc/candor.toml:") && found.len() < 100_000,
            "{}: {}",
            text.chars().take(30).collect::<String>(),
            found.len()
        );
    }
}

/// Text that is nearly a configuration: lines of known and unknown words.
fn nearly() -> impl proptest::strategy::Strategy<Value = String> {
    use proptest::prelude::*;
    let words = vec![
        "listen",
        "threads",
        "tls_min",
        "[[listener]]",
        "[listener]",
        "url",
        "log",
        "node",
        "=",
        "=",
        "\n",
        "\n",
        "\"",
        "'",
        "[",
        "]",
        "{",
        "}",
        ",",
        "\"10MiB\"",
        "\"mqtt://[::1]:0\"",
        "7",
        "-1",
        "1.5",
        "true",
        "#",
        "\\",
        "\"\"\"",
        "λ",
        "\u{0}",
        "\r",
        "[[rule]]",
        "action",
        "\"allow\"",
        "publish",
        "\"a/#\"",
        "[groups]",
        "user",
        "\"%u\"",
        "$argon2id$v=19$m=8,t=1,p=1$AAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAA",
        ":",
    ];
    prop::collection::vec(prop::sample::select(words), 0..40).prop_map(|words| words.join(" "))
}

proptest::proptest! {
    #[test]
    fn no_text_brings_the_readers_down(text in nearly(), noise in "\\PC{0,60}") {
        for text in [&text, &noise] {
            let source = Source::new("x", text.as_str());
            let found = resolve(&[], Some(&source), &Available::default()).map_or_else(|found| found.to_string(), |loaded| loaded.warnings.to_string());
            proptest::prop_assert!(!found.contains('\0'));
            let _ = crate::auth::rules::Rules::parse(&source).map_err(|found| found.to_string());
            let _ = crate::auth::password::Passwords::parse(&source, None).map_err(|found| found.to_string());
            let _ = crate::config::listener::parse_url(text);
            let _ = (crate::config::size::parse(text), crate::config::duration::parse(text));
        }
    }
}
