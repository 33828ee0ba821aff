//! What people read about the options: all of it made from the table.

use super::kind::Kind;
use super::option::{DefaultValue, GROUPS, OptionInfo, Scope, options};
use std::fmt::Write;

/// How wide the comments of the example are.
const WIDTH: usize = 110;

/// An annotated configuration file: every option at its default, those without one commented out.
pub fn example() -> String {
    let mut out = String::from(
        "# Configuration of candor-broker. Every option is here, at its default.\n\
         # A flag of the same name, with hyphens, overrides what stands here; `candor-broker --check -c FILE` tells what is wrong with a file.\n",
    );
    let is_in_file = |option: &&OptionInfo| option.scope != Scope::CommandLine;
    for group in GROUPS {
        let mut in_file = group.options.iter().filter(is_in_file).peekable();
        if in_file.peek().is_some() {
            let _ = write!(out, "\n\n## {}\n", group.heading);
        }
        in_file.for_each(|option| example_of(&mut out, option));
    }
    let sectioned = |out: &mut String, scope| {
        // tls_development stands in place of the two files, so the example has one or the other.
        for option in options().filter(|option| option.scope == scope && option.name != "tls_development") {
            let text = match option.default {
                DefaultValue::Text(text) => text,
                _ => sample(option),
            };
            let _ = writeln!(out, "# {} = {}", option.name, toml_value(option, text));
        }
    };
    out.push_str("\n\n## A listener with a policy of its own; there may be several. Sections stand below everything else.\n\n");
    out.push_str("# [[listener]]\n# url = \"mqtts://0.0.0.0:8883\"\n");
    sectioned(&mut out, Scope::Listener);
    out.push_str(
        "\n\n## A namespace whose messages have limits of their own in the queue of each session, beside those of the queue. There may be\n\
         ## several, and the first that matches a topic counts; what is left out is not limited.\n\n",
    );
    out.push_str("# [[namespace]]\n# filter = \"telemetry/#\"\n");
    sectioned(&mut out, Scope::Namespace);
    out
}

fn example_of(out: &mut String, option: &OptionInfo) {
    out.push('\n');
    explain(out, option);
    let _ = match option.default {
        DefaultValue::Text(text) => writeln!(out, "{} = {}", option.name, toml_value(option, text)),
        DefaultValue::Computed { words, text } => {
            writeln!(out, "# Default: {words}.\n# {} = {}", option.name, toml_value(option, &text()))
        }
        DefaultValue::Unset(words) => writeln!(out, "# Default: {words}.\n# {} = {}", option.name, toml_value(option, sample(option))),
    };
}

/// The README's table of defaults: one table for each group.
pub fn help_markdown() -> String {
    let mut out = String::new();
    for group in GROUPS {
        let gap = if out.is_empty() { "" } else { "\n" };
        let _ =
            write!(out, "{gap}**{}**\n\n| Flag | Key | Default | Allowed | Meaning |\n| --- | --- | --- | --- | --- |\n", group.heading);
        group.options.iter().for_each(|option| markdown_row(&mut out, option));
    }
    out.push_str("\n(L): also in a `[[listener]]` section, for that listener alone.\n");
    out.push_str("(N): also in a `[[namespace]]` section, where it is one more limit, of the messages whose topic its `filter` matches.\n");
    out
}

fn markdown_row(out: &mut String, option: &OptionInfo) {
    let key = match option.scope {
        Scope::CommandLine => "-".to_owned(),
        Scope::Server => format!("`{}`", option.name),
        Scope::Listener => format!("`{}` (L)", option.name),
        Scope::Namespace => format!("`{}` (N)", option.name),
    };
    let default = match option.default {
        DefaultValue::Text(text) => format!("`{text}`"),
        _ => cell(option.default_words()),
    };
    let why = if option.why.is_empty() { String::new() } else { format!(" Why this default: {}", option.why) };
    let meaning = cell(&format!("{}{why}", option.sentence));
    let _ = writeln!(out, "| `{}` | {key} | {default} | {} | {meaning} |", option.flag(), cell(&allowed(option)));
}

/// The sentence of an option, with its default and its range, as `-h` shows it.
pub fn help(option: &OptionInfo) -> String {
    format!("{}{}", option.sentence, default_and_range(option))
}

/// As [`help`], with the meaning of each word that can be chosen, as `--help` shows it.
pub fn long_help(option: &OptionInfo) -> String {
    let Kind::Choice(choices) = option.kind else { return help(option) };
    let words: String = choices.iter().map(|choice| format!("\n- {}: {}", choice.name, choice.meaning)).collect();
    format!("{}{words}\n{}", option.sentence, default_and_range(option).trim_start())
}

fn default_and_range(option: &OptionInfo) -> String {
    let range = match option.kind {
        _ if option.scope == Scope::CommandLine => return String::new(),
        Kind::Number { .. } | Kind::Bytes { .. } | Kind::Seconds { .. } => format!("; {}", option.kind.range()),
        _ => String::new(),
    };
    format!(" [default: {}{range}]", option.default_words())
}

fn allowed(option: &OptionInfo) -> String {
    match option.kind {
        Kind::Choice(choices) => {
            choices.iter().map(|choice| format!("`{}` ({})", choice.name, choice.meaning)).collect::<Vec<_>>().join(", ")
        }
        Kind::Path { .. } | Kind::Text { .. } | Kind::List { .. } => option.kind.allowed(),
        _ => option.kind.range(),
    }
}

fn explain(out: &mut String, option: &OptionInfo) {
    let mut text = option.sentence.to_owned();
    if let Kind::Choice(choices) = option.kind {
        for choice in choices {
            let _ = write!(text, "\n  {}: {}", choice.name, choice.meaning);
        }
    } else if !option.kind.range().is_empty() {
        let _ = write!(text, " Allowed: {}.", option.kind.range());
    } else if matches!(option.kind, Kind::List { .. } | Kind::Text { .. }) {
        let _ = write!(text, " Allowed: {}.", option.kind.allowed());
    }
    if !option.why.is_empty() {
        let _ = write!(text, "\nWhy this default: {}", option.why);
    }
    for line in text.lines() {
        wrap(out, line);
    }
}

/// Writes `line` as comment lines of at most [`WIDTH`] characters.
fn wrap(out: &mut String, line: &str) {
    let indent = if line.starts_with(' ') { "  " } else { "" };
    let mut width = 0;
    for word in line.split_whitespace() {
        if width > 0 && width + 1 + word.chars().count() > WIDTH {
            out.push('\n');
            width = 0;
        }
        let lead = if width == 0 { format!("# {indent}") } else { " ".into() };
        width += lead.chars().count() + word.chars().count();
        out.push_str(&lead);
        out.push_str(word);
    }
    out.push('\n');
}

/// `text` as the TOML value of this option.
fn toml_value(option: &OptionInfo, text: &str) -> String {
    match option.kind {
        Kind::Switch { .. } | Kind::Number { .. } => text.to_owned(),
        Kind::List { .. } => format!("[{text:?}]"),
        _ => format!("{text:?}"),
    }
}

/// A value to show where there is no default.
fn sample(option: &OptionInfo) -> &'static str {
    match option.name {
        "experiments" => "x-name",
        _ if option.kind.is_of_namespaces() => "orders/#",
        "tls_cert" => "server.pem",
        "tls_key" => "server.key",
        "tls_development" => "development-tls",
        "tls_client_ca" => "clients.pem",
        "password_file" => "passwords",
        "rules_file" => "rules.toml",
        "data_dir" => "data",
        "send_buffer" => "256KiB",
        _ => "",
    }
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::resolve::resolve;
    use crate::config::source::Source;
    use crate::config::{Available, option};

    #[test]
    fn the_example_is_read_back_as_the_defaults() {
        let defaults = resolve(&[], None, &Available::default()).unwrap();
        let source = Source::new("example.toml", example());
        let read = resolve(&[], Some(&source), &Available::default()).unwrap_or_else(|found| panic!("{found}"));
        assert_eq!(read.config, defaults.config);
        let set = read.settings.iter().filter(|setting| !setting.is_default()).count();
        let written = options().filter(|o| o.scope != Scope::CommandLine && matches!(o.default, DefaultValue::Text(_))).count();
        assert_eq!(set, written);
    }

    #[test]
    fn the_sections_that_the_example_shows_are_allowed() {
        let text = example();
        let (_, sections) = text.split_once("\n# [[namespace]]\n").unwrap();
        let text: String = ["[[namespace]]", ""].join("\n")
            + &sections.lines().map(|line| line.trim_start_matches("# ").to_owned() + "\n").collect::<String>();
        let read = resolve(&[], Some(&Source::new("x.toml", text)), &Available::default()).unwrap_or_else(|found| panic!("{found}"));
        assert!(read.warnings.is_empty(), "{}", read.warnings);
        let namespace = &read.config.namespaces[0];
        assert_eq!((namespace.filter.as_str(), namespace.queue_length_max.is_some()), ("telemetry/#", true));
    }

    #[test]
    fn every_value_that_the_example_comments_out_is_allowed() {
        for option in options().filter(|option| !matches!(option.default, DefaultValue::Text(_)) && option.scope != Scope::CommandLine) {
            let text = format!("\n# {} = ", option.name);
            let line = example().split_once(&text).map(|(_, rest)| rest.lines().next().unwrap_or_default().to_owned()).unwrap();
            let source = Source::new("x.toml", format!("{} = {line}\n", option.name));
            let found = crate::config::file::read(&source);
            assert!(found.found.is_empty() && found.written.len() == 1, "{}: {}", option.name, found.found);
            let mut draft = crate::config::Draft::default();
            let origin = crate::config::diagnostic::Origin::Default;
            let set = option.kind.set(&mut draft, &found.written[0].text, std::path::Path::new(""), origin);
            assert_eq!(set, Ok(()), "{}", option.name);
        }
    }

    #[test]
    fn every_option_and_default_is_in_the_table_of_the_readme_and_in_the_help() {
        let markdown = help_markdown();
        for option in options() {
            let row = markdown.lines().find(|line| line.starts_with(&format!("| `{}` |", option.flag()))).unwrap();
            assert!(row.contains(option.default_words()) && row.contains(option.sentence), "{row}");
            assert_eq!(row.matches(" | ").count(), 4, "{row}");
            let in_help = option.scope == Scope::CommandLine || help(option).contains(&format!("[default: {}", option.default_words()));
            assert!(in_help && long_help(option).contains(option.sentence), "{}", option.name);
        }
        assert!(option::named("listen").is_some());
    }

    /// With `CANDOR_WRITE_README` set, it is written instead of compared.
    #[test]
    fn the_readme_has_the_table_as_it_is() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
        let readme = std::fs::read_to_string(&path).unwrap();
        let (before, rest) = readme.split_once("<!-- options: ").unwrap();
        let (marker, rest) = rest.split_once(" -->\n").unwrap();
        let (_, after) = rest.split_once("<!-- end of options -->").unwrap();
        let expected = format!("{before}<!-- options: {marker} -->\n\n{}\n<!-- end of options -->{after}", help_markdown());
        if std::env::var_os("CANDOR_WRITE_README").is_some() {
            std::fs::write(&path, &expected).unwrap();
        } else {
            assert!(readme == expected, "README.md has not the options as they are; its comment says how to write them");
        }
    }

    #[test]
    fn the_example_fits_a_terminal() {
        for line in example().lines() {
            assert!(line.chars().count() <= 140, "{line}");
        }
    }
}
