use super::*;
use crate::auth::password::Check;
use argon2::{Algorithm, Params, Version};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

/// A folder of its own for each test, gone with it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("candor-passwd-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self) -> PathBuf {
        self.0.join("passwords")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

fn cheap() -> Argon2<'static> {
    Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(8, 1, 1, None).unwrap())
}

fn verifies(file: &Path, user: &str, password: &[u8]) -> bool {
    let passwords = Arc::new(Passwords::parse(&Source::read_secret(file, 1 << 20).unwrap(), None).unwrap());
    match passwords.check(user, password) {
        Check::Right => true,
        Check::Unknown(verification) => verification.run().is_ok(),
    }
}

#[test]
fn an_entry_is_added_replaced_and_removed() {
    let folder = Folder::new("cycle");
    let file = folder.file();
    assert_eq!(set(&file, "alice", b"one", &cheap()).unwrap(), Change::Added);
    assert_eq!(set(&file, "bob", b"two", &cheap()).unwrap(), Change::Added);
    assert!(verifies(&file, "alice", b"one") && verifies(&file, "bob", b"two"));
    assert_eq!(set(&file, "alice", b"three", &cheap()).unwrap(), Change::Replaced);
    assert!(verifies(&file, "alice", b"three") && !verifies(&file, "alice", b"one") && verifies(&file, "bob", b"two"));
    assert_eq!(remove(&file, "alice").unwrap(), Change::Removed);
    assert!(!verifies(&file, "alice", b"three") && verifies(&file, "bob", b"two"));
    let gone = remove(&file, "alice").unwrap_err().to_string();
    assert!(gone.ends_with("passwords has no user \"alice\""), "{gone}");
    assert_eq!(std::fs::read_dir(&folder.0).unwrap().count(), 1);
}

#[test]
fn only_the_owner_may_read_the_file_even_if_others_could_before() {
    let folder = Folder::new("mode");
    let file = folder.file();
    let mode = || std::fs::metadata(&file).unwrap().permissions().mode() & 0o777;
    set(&file, "alice", b"one", &cheap()).unwrap();
    assert_eq!(mode(), 0o600);
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    set(&file, "bob", b"two", &cheap()).unwrap();
    assert_eq!(mode(), 0o600);
}

#[test]
fn comments_blank_lines_and_order_are_kept() {
    let folder = Folder::new("keep");
    let file = folder.file();
    set(&file, "alice", b"one", &cheap()).unwrap();
    let alice = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("# users of the plant\n\n{alice}# bob:is gone\n")).unwrap();
    set(&file, "bob", b"two", &cheap()).unwrap();
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.starts_with(&format!("# users of the plant\n\n{alice}# bob:is gone\nbob:$argon2id$")), "{text}");
    remove(&file, "bob").unwrap();
    assert_eq!(std::fs::read_to_string(&file).unwrap(), format!("# users of the plant\n\n{alice}# bob:is gone\n"));
}

#[test]
fn a_file_that_is_wrong_elsewhere_is_not_touched() {
    let folder = Folder::new("wrong");
    let file = folder.file();
    std::fs::write(&file, "carol:plain text\n").unwrap();
    let refused = set(&file, "alice", b"one", &cheap()).unwrap_err().to_string();
    assert!(refused.contains("passwords:1:1: behind the `:` there is no hash") && refused.ends_with("nothing was changed"), "{refused}");
    assert!(!refused.contains("plain text"));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "carol:plain text\n");
    // Her own line is what a new password mends, and twice is once.
    std::fs::write(&file, "carol:plain text\ncarol:again\n").unwrap();
    assert_eq!(set(&file, "carol", b"one", &cheap()).unwrap(), Change::Replaced);
    assert_eq!(std::fs::read_to_string(&file).unwrap().lines().count(), 1);
}

#[test]
fn a_user_name_that_the_file_cannot_hold_is_refused() {
    let folder = Folder::new("names");
    for name in ["", "#alice", "a:b", "a\nb", " a", "a\0"] {
        assert!(matches!(set(&folder.file(), name, b"x", &cheap()), Err(PasswdError::UserName(_))), "{name:?}");
    }
    let text = set(&folder.file(), "#alice", b"x", &cheap()).unwrap_err().to_string();
    assert!(text.starts_with("the user name begins with `#`, which makes its line a comment\n  allowed: "), "{text}");
    assert!(set(&folder.file(), "al#ice", b"x", &cheap()).is_ok());
}

#[test]
fn a_link_stays_a_link() {
    let folder = Folder::new("link");
    let link = folder.0.join("link");
    set(&folder.file(), "alice", b"one", &cheap()).unwrap();
    std::os::unix::fs::symlink(folder.file(), &link).unwrap();
    set(&link, "bob", b"two", &cheap()).unwrap();
    assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
    assert!(verifies(&folder.file(), "bob", b"two"));
}

#[test]
fn changes_at_the_same_time_are_all_kept() {
    let folder = Folder::new("race");
    let file = folder.file();
    std::thread::scope(|scope| {
        for n in 0..8 {
            let file = &file;
            scope.spawn(move || set(file, &format!("user-{n}"), b"x", &cheap()).unwrap());
        }
    });
    assert!((0..8).all(|n| verifies(&file, &format!("user-{n}"), b"x")));
}

#[test]
fn a_folder_that_is_not_there_is_named() {
    let error = set(Path::new("/no/such/folder/passwords"), "alice", b"x", &cheap()).unwrap_err();
    let text = error.to_string();
    assert_eq!((error.exit_status(), PasswdError::Differ.exit_status()), (1, 2));
    assert!(text.starts_with("/no/such/folder/passwords: opening its folder: No such file"), "{text}");
}

#[test]
fn a_password_is_the_first_line_of_the_input() {
    assert_eq!(read_password(&b"secret\nmore\n"[..]).unwrap(), b"secret");
    assert_eq!(read_password(&b" sec\0ret \r\n"[..]).unwrap(), b" sec\0ret ");
    assert_eq!(read_password(&b"\xff\xfe"[..]).unwrap(), b"\xff\xfe");
    assert_eq!(read_password(&vec![b'x'; 65_535][..]).unwrap().len(), 65_535);
    assert!(read_password(&vec![b'x'; 65_536][..]).unwrap_err().to_string().starts_with("the password is too long"));
    assert!(read_password(std::io::repeat(b'x')).is_err());
    for empty in [&b""[..], b"\n", b"\r\n"] {
        assert!(read_password(empty).unwrap_err().to_string().starts_with("the password is empty\n  allowed: "));
    }
}

#[test]
fn the_command_says_what_it_did() {
    let folder = Folder::new("command");
    let request = |delete| Passwd { file: folder.file(), user: "alice".into(), delete };
    let run = |delete, input: &[u8]| run_with(&request(delete), input, None, &cheap()).map_err(|error| error.to_string());
    let shown = folder.file().display().to_string();
    assert_eq!(run(false, b"one\n"), Ok(format!("added \"alice\" to {shown}")));
    assert!(verifies(&folder.file(), "alice", b"one"));
    assert_eq!(run(false, b"two"), Ok(format!("gave \"alice\" a new password in {shown}")));
    assert!(run(false, b"").unwrap_err().starts_with("the password is empty"));
    assert!(verifies(&folder.file(), "alice", b"two"));
    assert_eq!(run(true, b""), Ok(format!("took \"alice\" out of {shown}")));
    assert_eq!(run(true, b""), Err(format!("{shown} has no user \"alice\"")));
}

/// A terminal and the other end of it.
fn terminal() -> (File, File) {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap();
    let slave = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(rustix::fs::OFlags::NOCTTY.bits() as i32)
        .open(name.to_str().unwrap())
        .unwrap();
    (File::from(master), slave)
}

/// Reads from the master until `text` has been seen.
fn wait_for(master: &mut File, seen: &mut String, text: &str) {
    let mut buffer = [0; 256];
    while !seen.contains(text) {
        let len = master.read(&mut buffer).unwrap();
        seen.push_str(std::str::from_utf8(&buffer[..len]).unwrap());
    }
}

#[test]
fn a_terminal_is_asked_twice_and_shows_nothing() {
    for (second, outcome) in [("secret", true), ("other", false)] {
        let (mut master, slave) = terminal();
        let asked = std::thread::spawn(move || (ask_password(&slave, "alice"), tcgetattr(&slave).unwrap()));
        let mut seen = String::new();
        wait_for(&mut master, &mut seen, "Password for \"alice\": ");
        master.write_all(b"secret\n").unwrap();
        wait_for(&mut master, &mut seen, "The same again: ");
        master.write_all(format!("{second}\n").as_bytes()).unwrap();
        let (password, modes) = asked.join().unwrap();
        match outcome {
            true => assert_eq!(password.unwrap(), b"secret"),
            false => assert_eq!(password.unwrap_err().to_string(), "the two passwords differ; nothing was changed"),
        }
        assert!(modes.local_modes.contains(LocalModes::ECHO), "the echo is on again");
        assert!(!seen.contains("secret"), "{seen}");
    }
}
