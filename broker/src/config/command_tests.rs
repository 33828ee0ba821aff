use super::*;

fn run(args: &[&str]) -> Result<Invocation, UsageError> {
    invocation(std::iter::once("candor-broker").chain(args.iter().copied()), &Available::default())
}

fn refused(args: &[&str]) -> String {
    run(args).map(|invocation| format!("{invocation:?}")).unwrap_err().to_string()
}

fn shown(args: &[&str]) -> String {
    match run(args).unwrap() {
        Invocation::Show(text) => text,
        other => panic!("{other:?}"),
    }
}

#[test]
fn no_flags_serve_the_defaults() {
    let Invocation::Serve(loaded) = run(&[]).unwrap() else { panic!() };
    assert_eq!(loaded.config, resolve(&[], None, &Available::default()).unwrap().config);
}

#[test]
fn flags_are_typed_values() {
    let args =
        ["--listen", "mqtt://127.0.0.1:0", "--listen=ws://[::1]:0", "--queue-bytes-max", "20MiB", "--tls-client-required", "--check"];
    let Invocation::Check(loaded, None) = run(&args).unwrap() else { panic!() };
    assert_eq!(loaded.config.listeners.len(), 2);
    assert_eq!(loaded.config.limits.queue_bytes_max, 20 << 20);
    assert!(run(&["--tls-client-required=false"]).is_ok());
}

#[test]
fn a_misspelt_flag_is_answered_with_the_right_one() {
    let text = refused(&["--queue-lenght-max", "5"]);
    assert!(text.contains("unexpected argument '--queue-lenght-max'") && text.contains("'--queue-length-max'"), "{text}");
}

#[test]
fn wrong_values_of_flags_are_told_together() {
    insta::assert_snapshot!(refused(&["--threads", "0", "--overflow", "drop", "--memory-limit", "10M", "--listen", "tcp://x", "--send-window", "-1"]), @r#"
    --listen: `tcp://x` is not the URL of a listener: scheme "tcp" is not known; use mqtt, mqtts, ws or wss
      allowed: mqtt://HOST:PORT, mqtts://HOST:PORT, ws://HOST:PORT/PATH or wss://HOST:PORT/PATH; IPv6 in brackets; port 0: any free one
    --send-window: `-1` is negative
      allowed: a whole number, 1 to 65535
    --overflow: `drop` is not one of the choices
      allowed: drop-oldest, drop-newest, refuse-publisher, hold-back
    --memory-limit: `10M` could mean two things: write 10MiB (10 x 1048576) or 10MB (10 x 1000000)
      allowed: a whole number of bytes, or one with a unit: 512KiB, 10MiB, 1GiB (or kB, MB, GB for powers of 1000), 16MiB to 1024TiB
    --threads: `0` is too small
      allowed: a whole number, 1 to 1024
    "#);
}

#[test]
fn flags_and_file_are_told_together() {
    let path = std::env::temp_dir().join(format!("candor-command-{}.toml", std::process::id()));
    std::fs::write(&path, "threds = 1\n").unwrap();
    let text = refused(&["-c", &path.display().to_string(), "--threads", "0"]);
    std::fs::remove_file(&path).unwrap();
    assert!(text.starts_with("--threads: `0` is too small\n  allowed: a whole number, 1 to 1024\n"), "{text}");
    assert!(text.contains(&format!("{}:1:1: no option is called `threds`", path.display())), "{text}");
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let text = refused(&["--config", "no/such/file.toml"]);
    assert!(text.starts_with("no/such/file.toml: it cannot be read: No such file"), "{text}");
}

#[test]
fn help_shows_every_option_with_its_default() {
    let text = shown(&["--help"]);
    let joined = text.split_whitespace().collect::<Vec<_>>().join(" ");
    for group in GROUPS {
        assert!(text.contains(&format!("{}:", group.heading)), "{}", group.heading);
    }
    for option in options() {
        let flag = option.flag();
        let at = text.lines().position(|line| line.trim_start().trim_start_matches("-c, ").split([' ', '[']).next() == Some(&flag));
        assert!(at.is_some(), "{flag}");
        let default = joined.contains(&format!("[default: {}", option.default_words()));
        assert!(default || option.scope == Scope::CommandLine, "{flag}");
    }
}

#[test]
fn help_config_and_help_rules_print_their_examples() {
    assert_eq!(shown(&["--help-config"]), manual::example());
    assert_eq!(shown(&["--help-rules"]), crate::auth::rules::EXAMPLE);
}

#[test]
fn passwd_takes_a_file_and_a_user() {
    let Invocation::Passwd(passwd) = run(&["passwd", "-D", "users", "alice"]).unwrap() else { panic!() };
    assert_eq!(passwd, Passwd { file: "users".into(), user: "alice".into(), delete: true });
    assert!(refused(&["passwd", "users"]).contains("<USER>"));
}

#[test]
fn a_repeated_flag_that_takes_one_value_is_refused() {
    assert!(refused(&["--threads", "1", "--threads", "2"]).contains("cannot be used multiple times"));
}
