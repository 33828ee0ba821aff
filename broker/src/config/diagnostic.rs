//! What is wrong with something an operator wrote: where, what, and what is allowed.

use super::source::Place;
use std::fmt;

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// The command line; the flag as it is written, without its value.
    Flag(String),
    /// A place in a file.
    File(Place),
    /// A file as a whole.
    Path(String),
}

impl Origin {
    fn order(&self) -> (u8, &str, usize) {
        match self {
            Origin::Flag(_) => (0, "", 0),
            Origin::Default => (1, "", 0),
            Origin::Path(path) => (2, path, 0),
            Origin::File(place) => (2, place.file(), place.offset()),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::Flag(flag) => f.write_str(flag),
            Origin::File(place) => write!(f, "{place}"),
            Origin::Path(path) => f.write_str(path),
        }
    }
}

/// Whether a diagnostic stops the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    Error,
    /// It is served as written, but probably not meant so.
    Warning,
}

/// One thing that is wrong. Its text is several lines: the place and what is wrong, the line itself, what is allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    pub severity: Severity,
    pub origin: Origin,
    pub what: String,
    pub allowed: Option<String>,
    pub help: Option<String>,
}

impl Diagnostic {
    pub fn error(origin: Origin, what: impl Into<String>) -> Self {
        Self { severity: Severity::Error, origin, what: what.into(), allowed: None, help: None }
    }

    pub fn warning(origin: Origin, what: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(origin, what) }
    }

    pub fn allowed(mut self, allowed: impl Into<String>) -> Self {
        self.allowed = Some(allowed.into());
        self
    }

    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.origin != Origin::Default {
            write!(f, "{}: ", self.origin)?;
        }
        if self.severity == Severity::Warning {
            f.write_str("warning: ")?;
        }
        f.write_str(&self.what)?;
        if let Origin::File(place) = &self.origin {
            place.write_excerpt(f)?;
        }
        if let Some(allowed) = &self.allowed {
            write!(f, "\n  allowed: {allowed}")?;
        }
        if let Some(help) = &self.help {
            write!(f, "\n  help: {help}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostic {}

/// How many diagnostics are shown; a file that is no configuration at all could have thousands.
const SHOWN_MAX: usize = 50;

/// How many are kept; the rest is only counted.
const KEPT_MAX: usize = 1000;

/// All that is wrong, in the order in which it stands in the files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Diagnostics {
    kept: Vec<Diagnostic>,
    more: usize,
}

impl Diagnostics {
    pub fn push(&mut self, diagnostic: Diagnostic) {
        if self.is_full() {
            self.more += 1;
        } else if !self.kept.contains(&diagnostic) {
            self.kept.push(diagnostic);
        }
    }

    pub fn extend(&mut self, other: Diagnostics) {
        other.kept.into_iter().for_each(|diagnostic| self.push(diagnostic));
        self.more += other.more;
    }

    pub fn iter(&self) -> impl Iterator<Item = &Diagnostic> {
        self.kept.iter()
    }

    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// Whether a further one is only counted.
    pub fn is_full(&self) -> bool {
        self.kept.len() >= KEPT_MAX
    }

    pub fn has_errors(&self) -> bool {
        self.kept.iter().any(|diagnostic| diagnostic.severity == Severity::Error)
    }

    /// Orders by file, line and column; flags come first.
    pub fn sort(&mut self) {
        self.kept.sort_by(|a, b| a.origin.order().cmp(&b.origin.order()));
    }

    /// `value`, unless there is an error; warnings are returned beside it.
    ///
    /// # Errors
    /// The diagnostics, if one of them is an error.
    pub fn unless_errors<T>(mut self, value: T) -> Result<(T, Diagnostics), Diagnostics> {
        self.sort();
        if self.has_errors() { Err(self) } else { Ok((value, self)) }
    }
}

impl From<Diagnostic> for Diagnostics {
    fn from(diagnostic: Diagnostic) -> Self {
        Self { kept: vec![diagnostic], more: 0 }
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, diagnostic) in self.kept.iter().take(SHOWN_MAX).enumerate() {
            write!(f, "{}{diagnostic}", if n > 0 { "\n" } else { "" })?;
        }
        match self.kept.len().saturating_sub(SHOWN_MAX) + self.more {
            0 => Ok(()),
            more => write!(f, "\nand {more} more"),
        }
    }
}

impl std::error::Error for Diagnostics {}

/// The name of `known` that is nearest to `given`, if it is near enough to be a slip of the keyboard.
pub fn nearest<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Beyond this length nobody meant any of our names, and the comparison takes quadratic time.
    if given.len() > 80 {
        return None;
    }
    let plain = |name: &str| name.to_lowercase().replace('-', "_");
    let given = plain(given);
    let near = |name: &str| strsim::damerau_levenshtein(&given, &plain(name));
    let (distance, name) = known.into_iter().map(|name| (near(name), name)).min()?;
    (distance <= given.chars().count().div_ceil(3)).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::source::Source;

    #[test]
    fn a_diagnostic_says_where_what_and_what_is_allowed() {
        let source = Source::new("candor.toml", "threads = 2\nthreds = 3\n");
        let diagnostic = Diagnostic::error(Origin::File(source.place(12..18)), "no option is called `threds`")
            .allowed("the names in `candor-broker --help`")
            .help("did you mean `threads`?");
        let expected = "candor.toml:2:1: no option is called `threds`\n  |\n2 | threds = 3\n  | ^^^^^^\n  allowed: the names in `candor-broker --help`\n  help: did you mean `threads`?";
        assert_eq!(diagnostic.to_string(), expected);
    }

    #[test]
    fn the_nearest_name_is_offered_only_for_a_slip() {
        let known = ["listen", "threads", "packet_size_max"];
        assert_eq!(nearest("thread", known), Some("threads"));
        assert_eq!(nearest("packet-size-mx", known), Some("packet_size_max"));
        assert_eq!(nearest("LISTEN", known), Some("listen"));
        assert_eq!(nearest("colour", known), None);
        assert_eq!(nearest(&"a".repeat(100_000), known), None);
        assert_eq!(nearest("", known), None);
    }

    #[test]
    fn a_flood_of_errors_is_cut_and_counted() {
        let mut all = Diagnostics::default();
        (0..3000).for_each(|n| all.push(Diagnostic::error(Origin::Default, format!("wrong {n}"))));
        assert!(all.to_string().ends_with("wrong 49\nand 2950 more"));
    }
}
