//! `--check --against FILE`: which clients would lose what under the users and rules that are checked. The file has a line of JSON for
//! each client, as `candor clients --json` prints them from a running broker.

use super::{Access, Client, Method, Principal};
use crate::config::diagnostic::{Diagnostic, Diagnostics, Origin};
use crate::config::kind::shown;
use crate::config::source::Source;
use candor_protocol::packet::TopicFilter;
use serde::Deserialize;
use std::fmt::Write;
use std::path::Path;

/// The longest file, in bytes.
const LEN_MAX: u64 = 256 << 20;

/// One line. What else a line says is passed over.
#[derive(Debug, Deserialize)]
struct Line {
    client: String,
    /// `None`: an anonymous client.
    #[serde(default)]
    user: Option<String>,
    /// How it proved its name: `password` (also when absent) or `certificate`.
    #[serde(default)]
    method: Option<String>,
    #[serde(default)]
    subscriptions: Vec<String>,
    /// Topics that it is known to publish to; a broker does not write them down, so they are for whoever knows them to add.
    #[serde(default)]
    publishes: Vec<String>,
}

/// What the clients of the file would lose, in words.
///
/// # Errors
/// The file cannot be read, or a line in it is none.
pub fn report(access: &Access, path: &Path) -> Result<String, Diagnostics> {
    let source = Source::read(path, LEN_MAX)?;
    compare(access, &source)
}

fn compare(access: &Access, source: &Source) -> Result<String, Diagnostics> {
    let (mut text, mut found) = (String::new(), Diagnostics::default());
    let (mut clients, mut losers, mut at) = (0_usize, 0_usize, 0);
    for line in source.text().split_inclusive('\n') {
        let place = at..at + line.trim_end().len();
        at += line.len();
        if line.trim().is_empty() {
            continue;
        }
        clients += 1;
        match read(line).and_then(|line| Ok((lost(access, &line)?, line))) {
            Ok((lost, line)) => {
                losers += usize::from(!lost.is_empty());
                let user = line.user.as_deref().map_or("anonymous".to_owned(), |user| format!("user {}", shown(user)));
                for refusal in lost {
                    let _ = writeln!(text, "client {} ({user}) would lose: {refusal}", shown(&line.client));
                }
            }
            Err(wrong) => found.push(
                Diagnostic::error(Origin::File(source.place(place)), wrong).allowed("a line of JSON as `candor clients --json` prints it"),
            ),
        }
    }
    let _ = writeln!(text, "against: {losers} of {clients} clients would lose something");
    found.unless_errors(text).map(|(text, _)| text)
}

fn read(line: &str) -> Result<Line, String> {
    serde_json::from_str(line).map_err(|error| format!("this is not a client: {error}"))
}

fn lost(access: &Access, line: &Line) -> Result<Vec<candor_protocol::packet::Refusal>, String> {
    let filter = |text: &String| TopicFilter::new(text).map_err(|wrong| format!("{} is no topic filter: {wrong}", shown(text)));
    let subscriptions = line.subscriptions.iter().map(filter).collect::<Result<Vec<_>, _>>()?;
    let publishes: Vec<&str> = line.publishes.iter().map(String::as_str).collect();
    let (principal, method) = match (&line.user, line.method.as_deref()) {
        (None, _) => (Principal::Anonymous, Method::Anonymous),
        (Some(user), Some("certificate")) => (Principal::User(user.as_str().into()), Method::Certificate),
        (Some(user), None | Some("password")) => (Principal::User(user.as_str().into()), Method::Password),
        (Some(_), Some(other)) => return Err(format!("{} is no method", shown(other))),
    };
    let client = Client { principal: &principal, method, client_id: &line.client, publishes: &publishes, subscriptions: &subscriptions };
    Ok(access.denials(&client))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::rules::Rules;

    fn compared(file: &str) -> Result<String, String> {
        let rules = "[[rule]]\nname = \"a only\"\naction = \"allow\"\nuser = \"alice\"\npublish = [\"a/#\"]\nsubscribe = [\"a/#\"]\n";
        let (rules, _) = Rules::parse(&Source::new("rules.toml", rules)).unwrap();
        compare(&Access::with_rules(rules), &Source::new("clients", file)).map_err(|found| found.to_string())
    }

    #[test]
    fn who_would_lose_what_is_said_line_by_line() {
        let certified = "\"user\": \"alice\", \"method\": \"certificate\"";
        let file = format!(
            "{{ \"client\": \"one\", {certified}, \"connected\": true, \"subscriptions\": [\"a/+\", \"$share/g/b\"], \"publishes\": [\"a/x\", \"c\"] }}\n\n\
             {{ \"client\": \"two\", {certified}, \"subscriptions\": [\"a/b\"] }}\n{{ \"client\": \"three\", \"user\": null }}\n"
        );
        let said = compared(&file).unwrap();
        let lines: Vec<&str> = said.lines().collect();
        assert!(lines[0].starts_with("client `one` (user `alice`) would lose: not authorized (0x87): publishing to this topic"), "{said}");
        assert!(lines[0].contains("publish:c") && lines[1].contains("subscribe:$share/g/b"), "{said}");
        assert!(
            lines[2].starts_with("client `three` (anonymous) would lose: not authorized (0x87): this client may not connect"),
            "{said}"
        );
        assert_eq!(lines[3..], ["against: 2 of 3 clients would lose something"]);
    }

    #[test]
    fn a_line_that_is_no_client_is_named() {
        let said =
            compared("{ \"client\": \"one\" }\n{ \"user\": \"x\" }\n{ \"client\": \"c\", \"subscriptions\": [\"a#\"] }\n").unwrap_err();
        assert!(said.contains("clients:2:1: this is not a client: missing field `client`"), "{said}");
        assert!(said.contains("clients:3:1: `a#` is no topic filter"), "{said}");
    }
}
