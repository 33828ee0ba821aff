use super::*;
use argon2::PasswordHasher;

/// A hash that costs next to nothing, for tests.
fn cheap(password: &[u8]) -> String {
    let params = Params::new(8, 1, 1, None).unwrap();
    Argon2::new(Algorithm::Argon2id, argon2::Version::V0x13, params).hash_password(password).unwrap().to_string()
}

fn parse(text: &str) -> Result<Passwords, Diagnostics> {
    Passwords::parse(&Source::secret("etc/passwords", text), None)
}

fn refused(text: &str) -> String {
    parse(text).map(|passwords| format!("{passwords:?}")).unwrap_err().to_string()
}

fn run(passwords: &Arc<Passwords>, name: &str, password: &[u8]) -> Result<(), Denial> {
    match passwords.check(name, password) {
        Check::Right => Ok(()),
        Check::Unknown(verification) => verification.run(),
    }
}

#[test]
fn a_user_is_verified_and_nobody_else() {
    let text = format!("# users\n\nalice:{}\r\nbob#1:{}\n", cheap(b"secret"), cheap("Pässwort \0".as_bytes()));
    let passwords = Arc::new(parse(&text).unwrap());
    assert_eq!(passwords.len(), 2);
    assert_eq!(run(&passwords, "alice", b"secret"), Ok(()));
    assert_eq!(run(&passwords, "bob#1", "Pässwort \0".as_bytes()), Ok(()));
    assert_eq!(run(&passwords, "alice", b"Secret"), Err(Denial::WrongPassword));
    assert_eq!(run(&passwords, "alice", b""), Err(Denial::WrongPassword));
    assert_eq!(run(&passwords, "bob#1", b"secret"), Err(Denial::WrongPassword));
    assert_eq!(run(&passwords, "Alice", b"secret"), Err(Denial::UnknownUser));
    assert_eq!(run(&passwords, "", b"secret"), Err(Denial::UnknownUser));
}

#[test]
fn what_was_verified_is_known_at_once_and_only_that() {
    let passwords = Arc::new(parse(&format!("alice:{}\nbob:{}\n", cheap(b"secret"), cheap(b"secret"))).unwrap());
    assert!(matches!(passwords.check("alice", b"secret"), Check::Unknown(_)));
    assert_eq!(run(&passwords, "alice", b"secret"), Ok(()));
    assert!(matches!(passwords.check("alice", b"secret"), Check::Right));
    assert!(matches!(passwords.check("alice", b"secre"), Check::Unknown(_)));
    assert!(matches!(passwords.check("bob", b"secret"), Check::Unknown(_)));
    // A wrong password does not make the right one forgotten.
    assert_eq!(run(&passwords, "alice", b"wrong"), Err(Denial::WrongPassword));
    assert!(matches!(passwords.check("alice", b"secret"), Check::Right));
}

#[test]
fn a_reload_remembers_the_entries_that_are_the_same() {
    let (alice, bob) = (cheap(b"a"), cheap(b"b"));
    let old = Arc::new(parse(&format!("alice:{alice}\nbob:{bob}\n")).unwrap());
    assert_eq!((run(&old, "alice", b"a"), run(&old, "bob", b"b")), (Ok(()), Ok(())));
    let text = format!("bob:{}\nalice:{alice}\n", cheap(b"b"));
    let new = Arc::new(Passwords::parse(&Source::secret("x", text), Some(&old)).unwrap());
    assert!(matches!(new.check("alice", b"a"), Check::Right));
    assert!(matches!(new.check("bob", b"b"), Check::Unknown(_)));
}

#[test]
fn an_unknown_user_costs_what_a_user_costs() {
    let memory = |kib: u32| {
        let params = Params::new(kib, 1, 1, None).unwrap();
        Argon2::new(Algorithm::Argon2id, argon2::Version::V0x13, params).hash_password(b"x").unwrap().to_string()
    };
    let passwords = Arc::new(parse(&format!("small:{}\nlarge:{}\n", memory(8), memory(64))).unwrap());
    let cost = |name: &str| match passwords.check(name, b"guess") {
        Check::Right => 0,
        Check::Unknown(verification) => verification.memory_bytes(),
    };
    assert_eq!((cost("small"), cost("large")), (8 << 10, 64 << 10));
    // Always the same for the same name, and over many names both kinds occur.
    let costs: Vec<_> = (0..64).map(|n| cost(&format!("nobody-{n}"))).collect();
    assert_eq!(costs, (0..64).map(|n| cost(&format!("nobody-{n}"))).collect::<Vec<_>>());
    assert!(costs.contains(&(8 << 10)) && costs.contains(&(64 << 10)));
    // A file without users is no exception.
    let empty = Arc::new(parse("").unwrap());
    let Check::Unknown(verification) = empty.check("alice", b"x") else { panic!() };
    assert_eq!(verification.memory_bytes(), 19 << 20);
    assert_eq!(verification.run(), Err(Denial::UnknownUser));
}

#[test]
fn a_password_that_fits_the_stand_in_admits_nobody() {
    let passwords = Arc::new(parse(&format!("alice:{}\n", cheap(b"secret"))).unwrap());
    assert_eq!(run(&passwords, "mallory", b"secret"), Err(Denial::UnknownUser));
    assert_eq!(run(&passwords, "mallory", b"secret"), Err(Denial::UnknownUser));
}

#[test]
fn wrong_lines_are_told_and_never_shown() {
    let good = cheap(b"x");
    let other = good.replace("argon2id", "argon2i");
    let dear = good.replace("m=8,", "m=4000000000,");
    let cut = good.rsplit_once('$').unwrap().0;
    let text = format!(
        "alice:{good}\nno colon\n:{good}\nbob:hunter2\ncarol:$2b$12$abcdefghijklmnopqrstuv\nalice:{good}\n dave:{good}\nerin:{other}\nfrank:{dear}\ngrace:{cut}\nhe\u{7}idi:{good}\n"
    );
    let found = refused(&text);
    assert!(!found.contains("hunter2") && !found.contains("$2b$12") && !found.contains(&good), "{found}");
    let without_form: String =
        found.lines().filter(|line| !line.starts_with("  allowed: USER:HASH")).map(|line| format!("{line}\n")).collect();
    insta::assert_snapshot!(without_form, @r#"
    etc/passwords:2:1: the line has no `:`
    etc/passwords:3:1: the user name is empty
    etc/passwords:4:1: behind the `:` there is no hash; a password does not stand in this file
    etc/passwords:5:1: the hash is of `2b`, not of argon2id
    etc/passwords:6:1: the user `alice` stands here for the second time; the first is in line 1
      allowed: each user once
    etc/passwords:7:1: the user name ` dave` has white space at an end, where nobody sees it
    etc/passwords:8:1: the hash is of `argon2i`, not of argon2id
    etc/passwords:9:1: the hash is too dear: at most m=1048576, t=64, p=16 are verified
    etc/passwords:10:1: the hash is not complete
    etc/passwords:11:1: the user name `he\u{7}idi` holds '\u{7}'
    "#);
    assert_eq!(found.matches("  allowed: USER:HASH").count(), 9);
}

#[test]
fn hostile_files_end_in_errors() {
    let good = cheap(b"x");
    assert!(refused(&format!("{}:{good}\n", "u".repeat(100_000))).contains("etc/passwords:1:1: the line has more than 66000 bytes"));
    assert!(refused("\0\0\0").contains("the line has no `:`"));
    assert!(refused(&format!("a\0:{good}")).contains("the user name `a\\0` holds '\\0'"));
    assert!(refused(&"x\n".repeat(100_000)).ends_with("and 99950 more"));
    assert!(refused("a:$argon2id$v=19$m=8,t=1,p=1,m=8$AAAAAAAAAAA$AAAAAAAAAAA").contains("the hash is not a PHC string"));
    assert!(refused("a:$argon2id$v=18$m=8,t=1,p=1$AAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAA").contains("version other than 19"));
    assert!(refused("a:$argon2id$v=19$m=8,t=1000000,p=1$AAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAA").contains("the hash is too dear"));
    assert!(refused("a:$argon2id$v=19$m=1,t=1,p=1$AAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAA").contains("the parameters of the hash are wrong"));
}

#[test]
fn a_user_name_of_the_greatest_length_and_odd_characters_is_a_user() {
    let names = ["u".repeat(65_535), "a#b".into(), "a/b+c".into(), "Zähler λ".into(), "%u".into(), "*".into()];
    let text: String = names.iter().map(|name| format!("{name}:{}\n", cheap(b"x"))).collect();
    let passwords = Arc::new(parse(&text).unwrap());
    for name in &names {
        assert_eq!(run(&passwords, name, b"x"), Ok(()), "{}", name.len());
    }
}

#[test]
fn jobs_travel_to_other_threads() {
    let passwords = Arc::new(parse(&format!("alice:{}\n", cheap(b"secret"))).unwrap());
    let Check::Unknown(verification) = passwords.check("alice", b"secret") else { panic!() };
    assert_eq!(std::thread::spawn(move || verification.run()).join().unwrap(), Ok(()));
    assert!(!format!("{:?}", passwords.check("bob", b"secret")).contains("secret"));
}
