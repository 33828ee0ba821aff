//! The rules file: who may connect, publish and subscribe.
//!
//! The first rule that is about a client and decides the question decides it; where none does, the file's `default` does. [`EXAMPLE`]
//! shows everything.

use super::pattern::{InvalidPattern, NamePattern, TopicPattern};
use crate::config::diagnostic::{Diagnostic, Diagnostics, Origin, nearest};
use crate::config::document::{self, Report, type_name};
use crate::config::kind::shown;
use crate::config::source::Source;
use candor_protocol::packet::id::Qos;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The longest rules file, in bytes.
pub const LEN_MAX: u64 = 16 << 20;

/// A rules file that shows every key; it is read by a test.
pub const EXAMPLE: &str = include_str!("rules_example.toml");

/// What a rule, or the default, says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Allow,
    Deny,
}

/// One rule.
#[derive(Debug)]
pub struct Rule {
    /// How refusals call it: `rules.toml:12 "sensors only"`.
    pub label: Box<str>,
    pub action: Action,
    who: Option<Who>,
    client_ids: Option<Vec<NamePattern>>,
    /// Whether it is about connecting.
    pub connect: bool,
    pub publish: Vec<TopicPattern>,
    pub subscribe: Vec<TopicPattern>,
    pub qos_max: Qos,
    pub retain: bool,
    pub will: bool,
}

#[derive(Debug, Default)]
struct Who {
    users: Vec<NamePattern>,
    anonymous: bool,
}

/// A rules file, checked.
#[derive(Debug)]
pub struct Rules {
    rules: Vec<Rule>,
    pub default: Action,
    /// How refusals call the default.
    pub default_label: Box<str>,
}

impl Rule {
    /// Whether the rule is about this client; `user` is `None` for an anonymous one.
    pub fn is_about(&self, user: Option<&str>, client_id: &str) -> bool {
        let who = self.who.as_ref().is_none_or(|who| match user {
            Some(user) => who.users.iter().any(|pattern| pattern.matches(user, None)),
            None => who.anonymous,
        });
        who && self.client_ids.as_ref().is_none_or(|patterns| patterns.iter().any(|pattern| pattern.matches(client_id, user)))
    }
}

impl Rules {
    pub fn iter(&self) -> impl Iterator<Item = &Rule> {
        self.rules.iter()
    }

    pub fn len(&self) -> usize {
        self.rules.len()
    }

    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// The rule at a place of [`Rules::iter`].
    pub fn rule(&self, at: usize) -> Option<&Rule> {
        self.rules.get(at)
    }

    /// Reads a rules file; warnings are returned beside the rules.
    ///
    /// # Errors
    /// Everything that is wrong in it.
    pub fn parse(source: &Source) -> Result<(Rules, Diagnostics), Diagnostics> {
        let (text, mut report) = document::open(source);
        let table = document::table(&text);
        let mut rules =
            Rules { rules: Vec::new(), default: Action::Deny, default_label: format!("{} default", source.short_name()).into() };
        let groups = table.get("groups").map(|value| groups(&mut report, value)).unwrap_or_default();
        for (key, value) in &table {
            match key.get_ref().as_ref() {
                "" | "groups" => {}
                "default" => {
                    rules.default = action(&mut report, "default", value).unwrap_or(Action::Deny);
                    rules.default_label = format!("{}:{} default", source.short_name(), report.line(&key.span())).into();
                }
                "rule" => rules.rules = all(&mut report, source, value, &groups),
                name => report.push(key.span(), |at| unknown(at, "a rules file", name, &["default", "groups", "rule"])),
            }
        }
        if rules.is_empty() && rules.default == Action::Deny && !table.contains_key("rule") {
            report.push_missing(0..0, |_| {
                let whole = Origin::Path(source.name().to_owned());
                Diagnostic::warning(whole, "it has no rule: nobody can connect").help("rules begin with [[rule]]")
            });
        }
        report.finish().unless_errors(rules)
    }
}

type Groups = BTreeMap<String, Vec<NamePattern>>;

fn groups(report: &mut Report, value: &Spanned<DeValue<'_>>) -> Groups {
    let mut groups = Groups::new();
    let DeValue::Table(table) = value.get_ref() else {
        let what = format!("`groups` is {} here", type_name(value.get_ref()));
        report.push(value.span(), |at| Diagnostic::error(at, what).allowed("[groups], and below it NAME = [\"user\", ...]"));
        return groups;
    };
    for (key, value) in table {
        let name = key.get_ref().as_ref();
        let users = names(report, name, value, false);
        for (member, span) in document::texts(report, name, value).into_iter().filter(|(member, _)| table.contains_key(*member)) {
            let what = format!("{} is the name of a group too; here it is the user of that name", shown(member));
            report.push(span, |at| {
                Diagnostic::warning(at, what).help("groups do not contain groups: list the users, or name both groups in the rule")
            });
        }
        groups.insert(name.to_owned(), users);
    }
    groups
}

fn all(report: &mut Report, source: &Source, value: &Spanned<DeValue<'_>>, groups: &Groups) -> Vec<Rule> {
    let DeValue::Array(items) = value.get_ref() else {
        let what = format!("`rule` is {} here", type_name(value.get_ref()));
        report.push(value.span(), |at| Diagnostic::error(at, what).help("each rule has a section of its own: write [[rule]]"));
        return Vec::new();
    };
    let mut rules = Vec::with_capacity(items.len());
    for item in items {
        match item.get_ref() {
            DeValue::Table(table) => rules.extend(rule(report, source, table, item.span(), groups)),
            other => {
                let what = format!("a rule is a section, and this is {}", type_name(other));
                report.push(item.span(), |at| Diagnostic::error(at, what).help("write [[rule]]"));
            }
        }
    }
    rules
}

const KEYS: &[&str] =
    &["name", "action", "user", "group", "anonymous", "client_id", "connect", "publish", "subscribe", "qos_max", "retain", "will"];

fn rule(report: &mut Report, source: &Source, table: &DeTable<'_>, header: Range<usize>, groups: &Groups) -> Option<Rule> {
    for (key, _) in table.iter().filter(|(key, _)| !key.get_ref().is_empty() && !KEYS.contains(&key.get_ref().as_ref())) {
        report.push(key.span(), |at| unknown(at, "a rule", key.get_ref(), KEYS));
    }
    let Some(action) = table.get("action").map(|value| self::action(report, "action", value)) else {
        report.push_missing(header, |at| Diagnostic::error(at, "this rule has no action").allowed("action = \"allow\" or \"deny\""));
        return None;
    };
    let action = action?;
    let publish = table.get("publish").map(|value| topics(report, "publish", value));
    let subscribe = table.get("subscribe").map(|value| topics(report, "subscribe", value));
    let has_topics = publish.is_some() || subscribe.is_some();
    let connect = switch(report, table, "connect").unwrap_or(action == Action::Allow && has_topics);
    if !connect && !has_topics {
        report.push_missing(header.clone(), |at| {
            Diagnostic::error(at, "this rule decides nothing").allowed("connect = true, publish, subscribe")
        });
    }
    if action == Action::Deny {
        for key in table.keys().filter(|key| ["qos_max", "retain", "will"].contains(&key.get_ref().as_ref())) {
            let what = format!("{} stands in a deny rule, which denies whatever it is about", key.get_ref());
            report.push(key.span(), |at| Diagnostic::error(at, what).allowed("qos_max, retain and will in allow rules"));
        }
    }
    Some(Rule {
        label: label(report, source, table, &header).into(),
        action,
        who: who(report, table, groups),
        client_ids: table.get("client_id").map(|value| names(report, "client_id", value, true)),
        connect,
        publish: publish.unwrap_or_default(),
        subscribe: subscribe.unwrap_or_default(),
        qos_max: qos(report, table),
        retain: switch(report, table, "retain").unwrap_or(true),
        will: switch(report, table, "will").unwrap_or(true),
    })
}

/// The longest name of a rule, in characters: it travels in refusals.
const NAME_LEN_MAX: usize = 100;

fn label(report: &mut Report, source: &Source, table: &DeTable<'_>, header: &Range<usize>) -> String {
    let place = format!("{}:{}", source.short_name(), report.line(header));
    let Some(value) = table.get("name") else { return place };
    let good = |name: &str| !name.is_empty() && name.chars().count() <= NAME_LEN_MAX && !name.chars().any(char::is_control);
    match value.get_ref().as_str() {
        Some(name) if good(name) => format!("{place} \"{name}\""),
        _ => {
            let allowed = format!("text of 1 to {NAME_LEN_MAX} characters, none of them a control character");
            report.push(value.span(), |at| Diagnostic::error(at, "name: this is not the name of a rule").allowed(allowed));
            place
        }
    }
}

fn who(report: &mut Report, table: &DeTable<'_>, groups: &Groups) -> Option<Who> {
    let mut who = None;
    if let Some(value) = table.get("user") {
        who.get_or_insert_with(Who::default).users.extend(names(report, "user", value, false));
    }
    if let Some(value) = table.get("group") {
        let who = who.get_or_insert_with(Who::default);
        for (name, span) in document::texts(report, "group", value) {
            match groups.get(name) {
                Some(users) => who.users.extend(users.iter().cloned()),
                None => report.push(span, |at| unknown_group(at, name, groups)),
            }
        }
    }
    match (switch(report, table, "anonymous"), table.get("anonymous")) {
        (Some(true), _) => who.get_or_insert_with(Who::default).anonymous = true,
        (Some(false), Some(value)) if who.is_none() => report.push(value.span(), |at| {
            Diagnostic::error(at, "anonymous = false leaves open who the rule is about")
                .help("write user = \"*\" for every client that has a name")
        }),
        _ => {}
    }
    who
}

fn unknown_group(at: Origin, name: &str, groups: &Groups) -> Diagnostic {
    let known = || groups.keys().map(String::as_str);
    let allowed = if groups.is_empty() { "none: there is no [groups]".to_owned() } else { known().collect::<Vec<_>>().join(", ") };
    let diagnostic = Diagnostic::error(at, format!("no group is called {}", shown(name))).allowed(allowed);
    match nearest(name, known()) {
        Some(near) => diagnostic.help(format!("did you mean `{near}`?")),
        None => diagnostic,
    }
}

fn unknown(at: Origin, place: &str, name: &str, known: &[&str]) -> Diagnostic {
    let diagnostic = Diagnostic::error(at, format!("{place} has no key {}", shown(name))).allowed(known.join(", "));
    match nearest(name, known.iter().copied()) {
        Some(near) => diagnostic.help(format!("did you mean `{near}`?")),
        None => diagnostic,
    }
}

fn action(report: &mut Report, key: &str, value: &Spanned<DeValue<'_>>) -> Option<Action> {
    match value.get_ref().as_str() {
        Some("allow") => return Some(Action::Allow),
        Some("deny") => return Some(Action::Deny),
        Some(other) => report.push(value.span(), |at| {
            let diagnostic = Diagnostic::error(at, format!("{key}: {} is not an action", shown(other))).allowed("allow, deny");
            match nearest(other, ["allow", "deny"]) {
                Some(near) => diagnostic.help(format!("did you mean `{near}`?")),
                None => diagnostic,
            }
        }),
        None => report.push(value.span(), |at| {
            Diagnostic::error(at, format!("{key}: this is {}", type_name(value.get_ref()))).allowed("\"allow\" or \"deny\"")
        }),
    }
    None
}

fn switch(report: &mut Report, table: &DeTable<'_>, key: &str) -> Option<bool> {
    let value = table.get(key)?;
    let on = value.get_ref().as_bool();
    if on.is_none() {
        let what = format!("{key}: this is {}", type_name(value.get_ref()));
        report.push(value.span(), |at| Diagnostic::error(at, what).allowed("true or false, without quotation marks"));
    }
    on
}

fn qos(report: &mut Report, table: &DeTable<'_>) -> Qos {
    let Some(value) = table.get("qos_max") else { return Qos::ExactlyOnce };
    let number = value.get_ref().as_integer().and_then(|number| u8::from_str_radix(number.as_str(), number.radix()).ok());
    number.and_then(Qos::new).unwrap_or_else(|| {
        report.push(value.span(), |at| Diagnostic::error(at, "qos_max: this is not a QoS").allowed("0, 1, 2, without quotation marks"));
        Qos::ExactlyOnce
    })
}

/// Patterns for user names or client identifiers; `%u` has a meaning in the latter only.
fn names(report: &mut Report, key: &str, value: &Spanned<DeValue<'_>>, has_user: bool) -> Vec<NamePattern> {
    let allowed = if has_user { "text in which `*` and %u (user name) may stand" } else { "text in which `*` may stand" };
    patterns(report, key, value, |text| match NamePattern::new(text) {
        Ok(pattern) if pattern.names_user() && !has_user => Err(invalid(key, text, &InvalidPattern::Escape("%u".into()), allowed)),
        Ok(pattern) => Ok(pattern),
        Err(why) => Err(invalid(key, text, &why, allowed)),
    })
}

fn topics(report: &mut Report, key: &str, value: &Spanned<DeValue<'_>>) -> Vec<TopicPattern> {
    let allowed = "a topic filter in which %u (user name), %c (client identifier) and %% may stand";
    patterns(report, key, value, |text| TopicPattern::new(text).map_err(|why| invalid(key, text, &why, allowed)))
}

fn invalid(key: &str, text: &str, why: &InvalidPattern, allowed: &str) -> Diagnostic {
    Diagnostic::error(Origin::Default, format!("{key}: {} is not a pattern: {why}", shown(text))).allowed(allowed)
}

/// The patterns of a value that is one text or an array of texts; an empty array is an error, since it would be about nothing.
fn patterns<T>(report: &mut Report, key: &str, value: &Spanned<DeValue<'_>>, parse: impl Fn(&str) -> Result<T, Diagnostic>) -> Vec<T> {
    if matches!(value.get_ref(), DeValue::Array(items) if items.is_empty()) {
        report.push(value.span(), |at| {
            Diagnostic::error(at, format!("{key}: the list is empty")).allowed("one pattern or more, or no such key")
        });
    }
    let mut patterns = Vec::new();
    for (text, span) in document::texts(report, key, value) {
        match parse(text) {
            Ok(pattern) => patterns.push(pattern),
            Err(diagnostic) => report.push(span, |origin| Diagnostic { origin, ..diagnostic }),
        }
    }
    patterns
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Action::Allow => "allow",
            Action::Deny => "deny",
        })
    }
}

#[cfg(test)]
#[path = "rules_tests.rs"]
mod tests;
