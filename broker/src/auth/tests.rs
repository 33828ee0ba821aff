use super::*;
use argon2::{Algorithm, Argon2, Params, PasswordHasher, Version};

fn cheap(password: &[u8]) -> String {
    Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(8, 1, 1, None).unwrap()).hash_password(password).unwrap().to_string()
}

fn access(users: &[(&str, &str)], rules: Option<&str>) -> Arc<Access> {
    let text: String = users.iter().map(|(name, password)| format!("{name}:{}\n", cheap(password.as_bytes()))).collect();
    let passwords = Passwords::parse(&Source::secret("passwords", text), None).unwrap();
    let rules = rules.map(|text| Arc::new(Rules::parse(&Source::new("rules.toml", text)).unwrap_or_else(|found| panic!("{found}")).0));
    Arc::new(Access { passwords: (!users.is_empty()).then(|| Arc::new(passwords)), rules, ..Access::default() })
}

const NOBODY: Credentials<'_> = Credentials { user: None, password: None, client_id: "c1", peer_is_loopback: true, tls_name: None };

fn with<'a>(user: &'a str, password: &'a str) -> Credentials<'a> {
    Credentials { user: Some(user), password: Some(password.as_bytes()), ..NOBODY }
}

/// The answer, with the password verified on the spot.
fn connect(access: &Arc<Access>, credentials: Credentials<'_>, anonymous: Anonymous) -> Result<Admitted, Refusal> {
    match access.connect(credentials, anonymous) {
        Connecting::Decided(answer) => answer,
        Connecting::Verify(job) => job.run(),
    }
}

fn who(access: &Arc<Access>, credentials: Credentials<'_>) -> Result<(String, Method), String> {
    let admitted = connect(access, credentials, Anonymous::Never);
    admitted.map(|admitted| (admitted.principal.to_string(), admitted.method)).map_err(|refusal| refusal.to_string())
}

#[test]
fn anonymous_clients_are_a_matter_of_the_listener() {
    let access = access(&[], None);
    let from = |peer_is_loopback| Credentials { peer_is_loopback, ..NOBODY };
    assert!(connect(&access, from(true), Anonymous::Loopback).is_ok());
    assert!(connect(&access, from(false), Anonymous::Always).is_ok());
    let refused = |peer, policy| connect(&access, from(peer), policy).unwrap_err();
    insta::assert_snapshot!(refused(false, Anonymous::Loopback), @"not authorized (0x87): a user name and password, or a client certificate, are needed (only clients of the server's own machine may connect without); rule: anonymous = loopback; a retry can help once something else has changed");
    insta::assert_snapshot!(refused(true, Anonymous::Never), @"not authorized (0x87): a user name and password, or a client certificate, are needed (nobody may connect without); rule: anonymous = never; a retry can help once something else has changed");
    assert_eq!(refused(true, Anonymous::Never).reason.info().unwrap().connack_v311, Some(5));
}

#[test]
fn a_password_is_verified_and_a_wrong_one_tells_nothing() {
    let access = access(&[("alice", "secret")], None);
    assert_eq!(who(&access, with("alice", "secret")), Ok(("user \"alice\"".into(), Method::Password)));
    let wrong = connect(&access, with("alice", "guess"), Anonymous::Always).unwrap_err();
    let unknown = connect(&access, with("mallory", "guess"), Anonymous::Always).unwrap_err();
    assert_eq!(wrong, unknown);
    insta::assert_snapshot!(wrong, @"bad user name or password (0x86): this user name with this password is not known; a retry can help once something else has changed");
    let without = Credentials { password: None, ..with("alice", "") };
    assert_eq!(connect(&access, without, Anonymous::Always).unwrap_err(), wrong);
    assert_eq!(wrong.reason.info().unwrap().connack_v311, Some(4));
}

#[test]
fn a_user_name_that_nobody_verifies_is_refused_and_not_ignored() {
    let access = access(&[], None);
    let refusal = connect(&access, with("alice", "secret"), Anonymous::Always).unwrap_err();
    insta::assert_snapshot!(refusal, @"bad user name or password (0x86): this server verifies no passwords (it has no password file, so no user name is taken); rule: password_file; a retry can help once something else has changed");
}

#[test]
fn a_certificate_stands_for_its_name() {
    let access = access(&[("alice", "secret"), ("bob", "b")], None);
    let shown = |credentials: Credentials<'static>| who(&access, Credentials { tls_name: Some("alice"), ..credentials });
    assert_eq!(shown(NOBODY), Ok(("user \"alice\"".into(), Method::Certificate)));
    assert_eq!(shown(Credentials { user: Some("alice"), ..NOBODY }), Ok(("user \"alice\"".into(), Method::Certificate)));
    // Another user takes that user's password.
    assert_eq!(shown(with("bob", "b")), Ok(("user \"bob\"".into(), Method::Password)));
    assert!(shown(Credentials { user: Some("bob"), ..NOBODY }).is_err());
    assert!(shown(with("bob", "guess")).is_err());
    // A certificate without a name is nobody's.
    assert!(who(&access, Credentials { tls_name: Some(""), ..NOBODY }).is_err());
}

#[test]
fn the_second_login_with_the_same_password_is_decided_at_once() {
    let access = access(&[("alice", "secret")], None);
    assert!(matches!(access.connect(with("alice", "secret"), Anonymous::Never), Connecting::Verify(_)));
    assert!(connect(&access, with("alice", "secret"), Anonymous::Never).is_ok());
    assert!(matches!(access.connect(with("alice", "secret"), Anonymous::Never), Connecting::Decided(Ok(_))));
    assert!(matches!(access.connect(with("alice", "Secret"), Anonymous::Never), Connecting::Verify(_)));
}

const RULES: &str = r#"
[[rule]]
name = "no tests in production"
action = "deny"
connect = true
client_id = "test-*"
[[rule]]
name = "sensors"
action = "allow"
user = "sensor-*"
client_id = ["%u", "%u:*"]
publish = ["plant/%u/#"]
[[rule]]
name = "watchers connect elsewhere"
action = "allow"
anonymous = true
connect = false
subscribe = ["public/#"]
"#;

#[test]
fn rules_decide_who_connects_under_which_identifier() {
    let access = access(&[("sensor-1", "x"), ("eve", "x")], Some(RULES));
    let as_client = |user: &'static str, client_id: &'static str| {
        connect(&access, Credentials { client_id, ..with(user, "x") }, Anonymous::Always).map(|admitted| admitted.principal.to_string())
    };
    assert_eq!(as_client("sensor-1", "sensor-1:a"), Ok("user \"sensor-1\"".into()));
    insta::assert_snapshot!(as_client("sensor-1", "sensor-2").unwrap_err(), @"not authorized (0x87): this client may not connect (no rule allows it); rule: rules.toml default; a retry can help once something else has changed; missing: connect:sensor-2");
    insta::assert_snapshot!(as_client("sensor-1", "test-1").unwrap_err(), @r#"not authorized (0x87): this client may not connect (the rule denies it); rule: rules.toml:2 "no tests in production"; a retry can help once something else has changed; missing: connect:test-1"#);
    assert!(as_client("eve", "eve").is_err());
    // An allow rule is about connecting unless it says that it is not.
    assert!(connect(&access, NOBODY, Anonymous::Always).is_err());
    assert_eq!(as_client("eve", "eve").unwrap_err().reason.info().unwrap().connack_v311, Some(5));
}

#[test]
fn rights_come_with_admission() {
    let access = access(&[("sensor-1", "x")], Some(RULES));
    let admitted = connect(&access, Credentials { client_id: "sensor-1", ..with("sensor-1", "x") }, Anonymous::Never).unwrap();
    assert!(admitted.rights.publish(b"plant/sensor-1/t", Qos::ExactlyOnce, true).is_ok());
    assert!(admitted.rights.publish(b"plant/sensor-2/t", Qos::AtMostOnce, false).is_err());
}

#[test]
fn without_rules_everybody_shares_one_set_of_rights() {
    let access = access(&[("alice", "x")], None);
    let one = connect(&access, with("alice", "x"), Anonymous::Never).unwrap().rights;
    let two = connect(&access, NOBODY, Anonymous::Always).unwrap().rights;
    assert!(Arc::ptr_eq(&one, &two));
}

#[test]
fn a_reload_ends_users_that_were_taken_out_and_renews_the_rest() {
    let old = access(&[("alice", "x"), ("bob", "x")], None);
    let bob = connect(&old, with("bob", "x"), Anonymous::Never).unwrap();
    let new = access(&[("alice", "new")], Some("[[rule]]\naction = \"allow\"\npublish = \"a/#\"\n"));
    let alice = Principal::User("alice".into());
    assert!(new.again(&alice, Method::Password, "c").is_ok());
    insta::assert_snapshot!(new.again(&bob.principal, bob.method, "c").unwrap_err(), @"not authorized (0x87): this user was taken out; a retry can help once something else has changed");
    // A certificate is not the password file's to take away.
    assert!(new.again(&bob.principal, Method::Certificate, "c").is_ok());
    assert!(new.again(&Principal::Anonymous, Method::Anonymous, "c").is_ok());
}

#[test]
fn what_new_rules_take_away_is_known_before_they_are_in_force() {
    let new = access(&[("alice", "x")], Some("[[rule]]\nname = \"a only\"\naction = \"allow\"\npublish = \"a/#\"\nsubscribe = \"a/#\"\n"));
    let alice = Principal::User("alice".into());
    let filters = [TopicFilter::new("a/+").unwrap(), TopicFilter::new("#").unwrap()];
    let client =
        Client { principal: &alice, method: Method::Password, client_id: "c", publishes: &["a/1", "b/1"], subscriptions: &filters };
    let lost: Vec<_> = new.denials(&client).into_iter().filter_map(|refusal| refusal.problem.missing_scope.clone()).collect();
    assert_eq!(lost, ["publish:b/1", "subscribe:#"]);
    assert!(access(&[("alice", "x")], None).denials(&client).is_empty());
    assert_eq!(access(&[("bob", "x")], None).denials(&client).len(), 1);
}

#[test]
fn files_are_loaded_and_everything_wrong_in_both_is_told() {
    let dir = std::env::temp_dir().join(format!("candor-auth-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let files = AccessFiles { password_file: Some(dir.join("passwords")), rules_file: Some(dir.join("rules.toml")) };
    let missing = Access::load(&files, None).unwrap_err().to_string();
    std::fs::write(dir.join("passwords"), "alice\n").unwrap();
    std::fs::write(dir.join("rules.toml"), "[[rule]]\naction = \"al\"\n").unwrap();
    let wrong = Access::load(&files, None).unwrap_err().to_string();
    std::fs::write(dir.join("passwords"), format!("alice:{}\n", cheap(b"x"))).unwrap();
    std::fs::write(dir.join("rules.toml"), RULES).unwrap();
    let (access, warnings) = Access::load(&files, None).unwrap();
    std::fs::remove_dir_all(&dir).unwrap();
    assert!(missing.contains("passwords: it cannot be read") && missing.contains("rules.toml: it cannot be read"), "{missing}");
    assert!(
        wrong.contains("passwords:1:1: the line has no `:`") && wrong.contains("rules.toml:2:10: action: `al` is not an action"),
        "{wrong}"
    );
    assert!(warnings.to_string().contains("passwords: warning: others than its owner may read or write it (mode 6"), "{warnings}");
    assert_eq!(access.report(), "users: 1\nrules: 3, default deny\n");
}

#[test]
fn a_check_tells_what_would_be_served_and_where_each_value_stands() {
    let dir = std::env::temp_dir().join(format!("candor-check-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let config = dir.join("candor.toml");
    std::fs::write(dir.join("rules.toml"), RULES).unwrap();
    std::fs::write(
        &config,
        "rules_file = \"rules.toml\"\n[[listener]]\nurl = \"mqtts://0.0.0.0\"\ntls_development = \"tls\"\nanonymous = \"always\"\n",
    )
    .unwrap();
    let args = ["candor-broker", "--check", "-c", config.to_str().unwrap(), "--queue-length-max", "7"];
    let run = || config::command::invocation(args, &config::Available::default());
    let Ok(config::command::Invocation::Check(loaded, None)) = run() else { panic!() };
    let (report, warnings) = check(&loaded, None).unwrap();
    std::fs::write(dir.join("rules.toml"), "[[rule]]\n").unwrap();
    let wrong = check(&loaded, None).unwrap_err().to_string();
    std::fs::remove_dir_all(&dir).unwrap();
    let folder = dir.display().to_string();
    insta::assert_snapshot!(report.replace(&folder, "DIR"), @r#"
    listener mqtts://0.0.0.0:8883  durability disk, anonymous always, extended on, disclosure full, TLS 1.3 with a development certificate in DIR/tls
    rules_file = rules.toml  (DIR/candor.toml:1:14)
    queue_length_max = 7  (--queue-length-max)
    users: no password file
    rules: 3, default deny
    "#);
    insta::assert_snapshot!(warnings.to_string().replace(&folder, "DIR"), @r#"
    DIR/candor.toml:5:13: warning: everybody who reaches mqtts://0.0.0.0:8883 is served without credentials
      |
    5 | anonymous = "always"
      |             ^^^^^^^^
    "#);
    assert!(wrong.contains("rules.toml:1:1: this rule has no action"), "{wrong}");
}

#[test]
fn a_full_pool_is_answered_with_when_to_come_again() {
    insta::assert_snapshot!(busy(500), @"server busy (0x89): too many passwords are being verified; try again after 500 ms plus up to 500 ms");
}

#[test]
fn jobs_and_rights_travel_between_threads() {
    fn travels<T: Send + Sync + 'static>() {}
    travels::<Access>();
    travels::<Rights>();
    travels::<AdmissionJob>();
    travels::<Admitted>();
}
