//! What a row of the table says of an option.

use crate::config::kind::Kind;

/// Rows that are shown under one heading.
#[derive(Debug)]
pub struct Group {
    pub heading: &'static str,
    pub options: &'static [OptionInfo],
}

/// One row of the table.
#[derive(Debug, Clone, Copy)]
pub struct OptionInfo {
    /// The key in the file; the flag is the same with hyphens: `packet_size_max`, `--packet-size-max`.
    pub name: &'static str,
    pub kind: Kind,
    pub default: DefaultValue,
    /// What it does, one sentence.
    pub sentence: &'static str,
    /// Why the default is what it is, one sentence; empty where there is nothing to say.
    pub why: &'static str,
    pub scope: Scope,
    /// A flag of one letter.
    pub short: Option<char>,
}

/// What an option is when nobody sets it.
#[derive(Debug, Clone, Copy)]
pub enum DefaultValue {
    /// This text, as it would be written.
    Text(&'static str),
    /// What follows from the machine: in words, and the text for this machine.
    Computed { words: &'static str, text: fn() -> String },
    /// Nothing; what that means, in words.
    Unset(&'static str),
}

/// Where an option may stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Flag or file, for the whole server.
    Server,
    /// As `Server`, and in a `[[listener]]` section, where it overrides what holds for the whole server.
    Listener,
    /// As `Server`, and in a `[[namespace]]` section, where it is one more limit: of the messages of that namespace.
    Namespace,
    /// A flag only.
    CommandLine,
}

impl OptionInfo {
    /// The flag, with its hyphens.
    pub fn flag(&self) -> String {
        format!("--{}", self.name.replace('_', "-"))
    }

    /// The default in words, for people.
    pub fn default_words(&self) -> &'static str {
        match self.default {
            DefaultValue::Text(text) => text,
            DefaultValue::Computed { words, .. } => words,
            DefaultValue::Unset(words) => words,
        }
    }

    pub fn is_list(&self) -> bool {
        matches!(self.kind, Kind::List { .. })
    }

    pub(super) const fn why(mut self, why: &'static str) -> Self {
        self.why = why;
        self
    }

    pub(super) const fn scope(mut self, scope: Scope) -> Self {
        self.scope = scope;
        self
    }

    pub(super) const fn short(mut self, short: char) -> Self {
        self.short = Some(short);
        self
    }
}
