//! A clause: one normative statement of the draft. It is written as the doc comment of the test that proves it:
//!
//! ```text
//! /// clause dictionary.empty MUST
//! /// An empty dictionary MUST be written as a length of 0.
//! ///
//! /// From the first empty line on, the comment is for the readers of the test.
//! #[test]
//! fn an_empty_dictionary_is_no_byte() {
//! ```

use crate::finding::Place;
use crate::target::TestPath;
use std::fmt;

/// How strongly a clause binds, in the words of BCP 14.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Level {
    Must,
    MustNot,
    Should,
    ShouldNot,
    May,
}

impl Level {
    pub const ALL: [Level; 5] = [Level::Must, Level::MustNot, Level::Should, Level::ShouldNot, Level::May];

    pub const fn keyword(self) -> &'static str {
        match self {
            Level::Must => "MUST",
            Level::MustNot => "MUST NOT",
            Level::Should => "SHOULD",
            Level::ShouldNot => "SHOULD NOT",
            Level::May => "MAY",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.keyword())
    }
}

/// One normative statement, with the test that proves it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clause {
    /// The list of clauses that it stands in, as in `{{clauses dictionary}}`.
    pub section: String,
    pub name: String,
    pub level: Level,
    /// The normative sentences, in Markdown.
    pub sentence: String,
    pub test: TestPath,
    /// Where the clause is written.
    pub place: Place,
}

impl Clause {
    pub fn id(&self) -> String {
        format!("{}.{}", self.section, self.name)
    }
}

/// A clause without its test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    pub section: String,
    pub name: String,
    pub level: Level,
    pub sentence: String,
}

/// What is wrong with a clause as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum BadClause {
    /// The id is not `section.name`.
    Id(String),
    /// The level is missing, or none of BCP 14's that a clause may have.
    Level(String),
    /// No sentence follows.
    NoSentence,
    /// The sentence does not hold the keyword of the level.
    KeywordMissing(Level),
    /// The sentence holds another keyword as well.
    OtherKeyword { level: Level, found: String },
}

impl fmt::Display for BadClause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => write!(
                f,
                "`{id}` is not the id of a clause: it has the form section.name, each of lower-case letters, digits and hyphens, a letter first"
            ),
            Self::Level(level) if level.is_empty() => write!(f, "the clause has no level: MUST, MUST NOT, SHOULD, SHOULD NOT or MAY"),
            Self::Level(level) => write!(f, "`{level}` is not the level of a clause; allowed: MUST, MUST NOT, SHOULD, SHOULD NOT, MAY"),
            Self::NoSentence => f.write_str("no sentence follows the clause's first line"),
            Self::KeywordMissing(level) => write!(f, "the sentence of the clause does not hold its keyword {level}"),
            Self::OtherKeyword { level, found } => {
                write!(f, "the sentence of a {level} holds {found} as well: a clause has one level, so write a second clause")
            }
        }
    }
}

/// Whether a line of a doc comment is, or was meant to be, the first of a clause.
pub fn opens(line: &str) -> bool {
    let Some(rest) = line.strip_prefix("clause ") else { return false };
    let words: Vec<&str> = rest.split_whitespace().collect();
    let in_capitals = |word: &&&str| word.chars().all(|c| c.is_ascii_uppercase());
    words.len() == 1 || words.first().is_some_and(|id| id.contains('.')) || words.last().filter(in_capitals).is_some()
}

/// Reads the doc comment of a test, whose first line [`opens`] a clause.
///
/// # Errors
/// The first rule of the form that is broken.
pub fn parse(doc: &[&str]) -> Result<Statement, BadClause> {
    let first = doc.first().and_then(|line| line.strip_prefix("clause ")).unwrap_or_default().trim();
    let (id, level) = first.split_once(char::is_whitespace).unwrap_or((first, ""));
    let (section, name) =
        id.split_once('.').filter(|(section, name)| is_name(section) && is_name(name)).ok_or_else(|| BadClause::Id(id.into()))?;
    let level = level.split_whitespace().collect::<Vec<_>>().join(" ");
    let level = Level::ALL.into_iter().find(|known| known.keyword() == level).ok_or(BadClause::Level(level))?;
    let sentence: Vec<&str> = doc[1..].iter().map(|line| line.trim()).take_while(|line| !line.is_empty()).collect();
    if sentence.is_empty() {
        return Err(BadClause::NoSentence);
    }
    let sentence = sentence.join("\n");
    let found: Vec<String> = keywords(&sentence).map(|(_, keyword)| keyword).collect();
    if !found.iter().any(|keyword| keyword == level.keyword()) {
        return Err(BadClause::KeywordMissing(level));
    }
    match found.into_iter().find(|keyword| keyword != level.keyword()) {
        Some(found) => Err(BadClause::OtherKeyword { level, found }),
        None => Ok(Statement { section: section.to_owned(), name: name.to_owned(), level, sentence }),
    }
}

/// Whether `name` may stand in an id, or name an exchange or a table.
pub fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase()) && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

/// The keywords of BCP 14 in `text`, in capitals, each with its line from 0. A NOT belongs to the word before it, on
/// the next line too.
pub fn keywords(text: &str) -> impl Iterator<Item = (usize, String)> {
    const WORDS: [&str; 8] = ["MUST", "SHALL", "SHOULD", "MAY", "REQUIRED", "RECOMMENDED", "OPTIONAL", "NOT"];
    let lines = text.lines().enumerate();
    let words = lines.flat_map(|(at, line)| line.split(|c: char| !c.is_alphanumeric() && c != '_').map(move |word| (at, word)));
    let mut words = words.filter(|(_, word)| !word.is_empty()).peekable();
    let mut found = Vec::new();
    while let Some((line, word)) = words.next() {
        if WORDS.contains(&word) && word != "NOT" {
            let negated = matches!(word, "MUST" | "SHALL" | "SHOULD") && words.next_if(|(_, word)| *word == "NOT").is_some();
            found.push((line, if negated { format!("{word} NOT") } else { word.to_owned() }));
        } else if word == "NOT" && words.next_if(|(_, word)| *word == "RECOMMENDED").is_some() {
            found.push((line, "NOT RECOMMENDED".to_owned()));
        }
    }
    found.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clause_is_its_id_its_level_and_its_sentences() {
        let doc = ["clause acks.early-end MUST NOT", "A sender MUST NOT", "  do that.", "", "It MAY be that this is a note."];
        let statement = parse(&doc).unwrap();
        assert_eq!((&*statement.section, &*statement.name, statement.level), ("acks", "early-end", Level::MustNot));
        assert_eq!(statement.sentence, "A sender MUST NOT\ndo that.");
    }

    #[test]
    fn every_fault_of_a_clause_has_its_own_message() {
        let error = |doc: &[&str]| parse(doc).unwrap_err().to_string();
        assert!(error(&["clause Acks.x MUST", "It MUST."]).starts_with("`Acks.x` is not the id of a clause"));
        assert!(error(&["clause acks MUST", "It MUST."]).starts_with("`acks` is not the id of a clause"));
        assert!(error(&["clause acks.1x MUST", "It MUST."]).starts_with("`acks.1x` is not the id"));
        assert_eq!(error(&["clause acks.x", "It MUST."]), "the clause has no level: MUST, MUST NOT, SHOULD, SHOULD NOT or MAY");
        assert!(error(&["clause acks.x SHALL", "It SHALL."]).starts_with("`SHALL` is not the level of a clause; allowed: MUST, MUST NOT"));
        assert_eq!(error(&["clause acks.x MUST", "", "It MUST."]), "no sentence follows the clause's first line");
        assert_eq!(error(&["clause acks.x MUST", "It must."]), "the sentence of the clause does not hold its keyword MUST");
        assert_eq!(error(&["clause acks.x MUST", "It MUST NOT."]), "the sentence of the clause does not hold its keyword MUST");
        assert_eq!(
            error(&["clause acks.x MUST", "It MUST, and it MAY."]),
            "the sentence of a MUST holds MAY as well: a clause has one level, so write a second clause"
        );
    }

    #[test]
    fn prose_that_begins_with_the_word_clause_is_no_clause() {
        assert!(opens("clause acks.x MUST"));
        assert!(opens("clause acks MUST NOT"));
        assert!(opens("clause acks.x"));
        assert!(opens("clause acks"));
        assert!(!opens("clause numbers are ascending"));
        assert!(!opens("A clause acks.x MUST"));
    }

    #[test]
    fn a_keyword_is_a_whole_word_in_capitals_with_its_not() {
        let found = |text| keywords(text).map(|(line, word)| format!("{line} {word}")).collect::<Vec<_>>();
        assert_eq!(found("It MUST\nNOT be. MUSTARD may be SHOULD_NOT."), ["0 MUST NOT"]);
        assert_eq!(
            found("\nNOT RECOMMENDED, RECOMMENDED, SHALL NOT, OPTIONAL, NOT"),
            ["1 NOT RECOMMENDED", "1 RECOMMENDED", "1 SHALL NOT", "1 OPTIONAL"]
        );
    }
}
