//! The types of option values: how each is written, checked and explained, and where it goes.

use super::diagnostic::{Diagnostic, Origin, nearest};
use super::{Draft, duration, size};
use candor_protocol::shown::Shown;
use std::path::{Path, PathBuf};

/// The form of a namespace.
pub(super) const NAMESPACE: &str = "a topic filter, without $share/";

/// The type of an option's value, its range, and the place in the configuration that it is written to.
///
/// Numbers are inclusive ranges. Everything is read from text, so that a flag and a file have one parser and one set of messages.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// `true` or `false`; on the command line the flag alone is `true`.
    Switch { set: fn(&mut Draft, bool) },
    /// A whole number.
    Number { min: u64, max: u64, set: fn(&mut Draft, u64) },
    /// A size in bytes, see [`size::parse`].
    Bytes { min: u64, max: u64, set: fn(&mut Draft, u64) },
    /// A time in seconds, see [`duration::parse`]. With `forever` that word is taken too, and is set as `u32::MAX`, as in MQTT 5.
    Seconds { min: u64, max: u64, forever: bool, set: fn(&mut Draft, u32) },
    /// One of a few words.
    Choice(&'static [Choice]),
    /// A path; one in a file is relative to the folder of that file.
    Path { set: fn(&mut Draft, PathBuf) },
    /// Text with a rule of its own.
    Text { form: &'static str, check: fn(&str) -> Result<(), String>, set: fn(&mut Draft, String) },
    /// Any number of texts; the flag is repeated, a file has an array. `add` gets each with its origin.
    List { form: &'static str, check: fn(&str) -> Result<(), String>, clear: fn(&mut Draft), add: fn(&mut Draft, &str, Origin) },
}

/// One word that an option takes.
#[derive(Debug, Clone, Copy)]
pub struct Choice {
    pub name: &'static str,
    pub meaning: &'static str,
    pub(super) set: fn(&mut Draft),
}

/// What is wrong with a value, before it is known where the value stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    pub what: String,
    pub allowed: String,
    pub help: Option<String>,
}

impl Wrong {
    pub fn at(self, origin: Origin) -> Diagnostic {
        let diagnostic = Diagnostic::error(origin, self.what).allowed(self.allowed);
        match self.help {
            Some(help) => diagnostic.help(help),
            None => diagnostic,
        }
    }
}

impl Kind {
    /// Reads `text` and writes the value into the draft. `base` is what a relative path is relative to.
    ///
    /// # Errors
    /// What is wrong with the text and what is allowed.
    pub fn set(&self, draft: &mut Draft, text: &str, base: &Path, origin: Origin) -> Result<(), Wrong> {
        match *self {
            Kind::Switch { set } => set(draft, self.switch(text)?),
            Kind::Number { min, max, set } => set(draft, self.in_range(text, whole_number(text), min, max)?),
            Kind::Bytes { min, max, set } => set(draft, self.in_range(text, size::parse(text), min, max)?),
            Kind::Seconds { forever: true, set, .. } if text == duration::FOREVER => set(draft, u32::MAX),
            Kind::Seconds { min, max, set, .. } => {
                let seconds = self.in_range(text, duration::parse(text), min, max)?;
                set(draft, u32::try_from(seconds).unwrap_or(u32::MAX));
            }
            Kind::Choice(choices) => (self.choice(text, choices)?.set)(draft),
            Kind::Path { .. } if text.is_empty() || text.contains('\0') => return Err(self.wrong(format!("`{text}` is not a path"))),
            Kind::Path { set } => set(draft, base.join(text)),
            Kind::Text { check, set, .. } => {
                check(text).map_err(|what| self.wrong(format!("{} {what}", shown(text))))?;
                set(draft, text.to_owned());
            }
            Kind::List { check, add, .. } => {
                check(text).map_err(|what| self.wrong(format!("{} {what}", shown(text))))?;
                add(draft, text, origin);
            }
        }
        Ok(())
    }

    fn switch(&self, text: &str) -> Result<bool, Wrong> {
        match text {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(self.wrong(format!("{} is neither true nor false", shown(text)))),
        }
    }

    fn in_range(&self, text: &str, number: Result<u64, String>, min: u64, max: u64) -> Result<u64, Wrong> {
        let text = shown(text);
        match number {
            Err(what) => Err(self.wrong(format!("{text} {what}"))),
            Ok(number) if number < min => Err(self.wrong(format!("{text} is too small"))),
            Ok(number) if number > max => Err(self.wrong(format!("{text} is too large"))),
            Ok(number) => Ok(number),
        }
    }

    fn choice(&self, text: &str, choices: &'static [Choice]) -> Result<&'static Choice, Wrong> {
        choices.iter().find(|choice| choice.name == text).ok_or_else(|| {
            let mut wrong = self.wrong(format!("{} is not one of the choices", shown(text)));
            wrong.help = nearest(text, choices.iter().map(|choice| choice.name)).map(|name| format!("did you mean `{name}`?"));
            wrong
        })
    }

    /// Whether `text` would be taken.
    pub fn takes(&self, text: &str) -> bool {
        self.set(&mut Draft::default(), text, Path::new(""), Origin::Default).is_ok()
    }

    pub(super) fn wrong(&self, what: String) -> Wrong {
        Wrong { what, allowed: self.allowed(), help: None }
    }

    /// What is allowed, in words.
    pub fn allowed(&self) -> String {
        match self {
            Kind::Switch { .. } => "true or false".into(),
            Kind::Choice(choices) => choices.iter().map(|choice| choice.name).collect::<Vec<_>>().join(", "),
            Kind::Path { .. } => "a path".into(),
            Kind::Text { form, .. } | Kind::List { form, .. } => (*form).to_owned(),
            Kind::Number { .. } => format!("a whole number, {}", self.range()),
            Kind::Bytes { .. } => format!("{}, {}", size::FORM, self.range()),
            Kind::Seconds { forever: true, .. } => format!("{}, or forever; {}", duration::FORM, self.range()),
            Kind::Seconds { .. } => format!("{}, {}", duration::FORM, self.range()),
        }
    }

    /// The range or the choices, short; empty where there is neither.
    pub fn range(&self) -> String {
        match self {
            Kind::Number { min, max, .. } => format!("{min} to {max}"),
            Kind::Bytes { min, max, .. } => format!("{} to {}", size::format(*min), size::format(*max)),
            Kind::Seconds { min, max, forever, .. } => {
                format!("{} to {}{}", duration::format(*min), duration::format(*max), if *forever { ", or forever" } else { "" })
            }
            Kind::Choice(_) | Kind::Switch { .. } => self.allowed(),
            Kind::Path { .. } | Kind::Text { .. } | Kind::List { .. } => String::new(),
        }
    }

    /// Whether the texts of a list are namespaces.
    pub(super) fn is_of_namespaces(&self) -> bool {
        matches!(self, Kind::List { form, .. } if *form == NAMESPACE)
    }

    /// What stands for the value in `--flag VALUE`.
    pub fn placeholder(&self, name: &str) -> String {
        let word = match self {
            Kind::Choice(choices) => return choices.iter().map(|choice| choice.name).collect::<Vec<_>>().join("|"),
            Kind::Switch { .. } => "true|false",
            Kind::Number { .. } => "NUMBER",
            Kind::Bytes { .. } => "SIZE",
            Kind::Seconds { .. } => "TIME",
            Kind::Path { .. } if name.contains("dir") || name.contains("development") => "DIR",
            Kind::Path { .. } => "FILE",
            Kind::List { .. } if name == "listen" => "URL",
            Kind::List { .. } if self.is_of_namespaces() => "FILTER",
            Kind::Text { .. } if name == "log" => "FILTER",
            Kind::Text { .. } | Kind::List { .. } => "NAME",
        };
        word.to_owned()
    }
}

fn whole_number(text: &str) -> Result<u64, String> {
    if text.strip_prefix('-').is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit())) {
        return Err("is negative".into());
    }
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err("is not a whole number".into());
    }
    text.parse().map_err(|_| "is more than any machine can count".into())
}

/// A value in a message: in backticks, without control characters, and not longer than a message can bear.
pub fn shown(text: &str) -> String {
    const LEN_MAX: usize = 60;
    format!("`{}`", Shown::cut(text, LEN_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(kind: Kind, text: &str) -> Wrong {
        kind.set(&mut Draft::default(), text, Path::new(""), Origin::Default).unwrap_err()
    }

    #[test]
    fn each_kind_says_what_is_wrong_and_what_is_allowed() {
        let number = Kind::Number { min: 1, max: 9, set: |_, _| {} };
        assert_eq!(wrong(number, "0").what, "`0` is too small");
        assert_eq!(wrong(number, "10").what, "`10` is too large");
        assert_eq!(wrong(number, "1e3").what, "`1e3` is not a whole number");
        assert_eq!(wrong(number, "").what, "`` is not a whole number");
        assert_eq!(wrong(number, "x").allowed, "a whole number, 1 to 9");
        let bytes = Kind::Bytes { min: 1024, max: 1 << 20, set: |_, _| {} };
        assert_eq!(wrong(bytes, "2MiB").what, "`2MiB` is too large");
        assert!(wrong(bytes, "2MiB").allowed.ends_with(", 1KiB to 1MiB"));
        let seconds = Kind::Seconds { min: 1, max: 3600, forever: true, set: |_, _| {} };
        assert_eq!(wrong(seconds, "2h").what, "`2h` is too large");
        assert!(wrong(seconds, "2h").allowed.ends_with("or forever; 1s to 1h, or forever"), "{}", wrong(seconds, "2h").allowed);
        let switch = Kind::Switch { set: |_, _| {} };
        assert_eq!(
            wrong(switch, "yes"),
            Wrong { what: "`yes` is neither true nor false".into(), allowed: "true or false".into(), help: None }
        );
        let choice = Kind::Choice(&[Choice { name: "close", meaning: "", set: |_| {} }, Choice { name: "drop", meaning: "", set: |_| {} }]);
        assert_eq!(wrong(choice, "clsoe").help.as_deref(), Some("did you mean `close`?"));
        assert_eq!(wrong(choice, "Close").allowed, "close, drop");
        assert_eq!(wrong(Kind::Path { set: |_, _| {} }, "").what, "`` is not a path");
    }

    #[test]
    fn a_hostile_value_is_cut_and_escaped_in_its_message() {
        assert_eq!(shown("a\u{1b}[0m\n"), "`a\\u{1b}[0m\\n`");
        assert_eq!(shown(&"x".repeat(100_000)).len(), 65);
    }
}
