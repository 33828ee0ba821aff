//! The configuration file: TOML, a key for each option, and a `[[listener]]` section for each listener with a policy of its own.

use super::diagnostic::{Diagnostic, Diagnostics, Origin, nearest};
use super::document::{self, Report, type_name};
use super::kind::{Kind, Wrong, shown};
use super::listener;
use super::option::{OPTIONS, OptionInfo, Scope, named};
use super::source::Source;
use crate::transport::url::{self, ListenUrl};
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The longest configuration file, in bytes.
pub const LEN_MAX: u64 = 4 << 20;

/// The key of a listener's URL in its section.
const URL: &str = "url";
/// The key of the sections.
const LISTENER: &str = "listener";

/// A value as it was written: for a list, one of its items.
#[derive(Debug, Clone)]
pub struct Written {
    pub option: &'static OptionInfo,
    pub text: String,
    pub origin: Origin,
}

/// A `[[listener]]` section.
#[derive(Debug, Clone)]
pub struct Section {
    pub url: ListenUrl,
    pub origin: Origin,
    pub written: Vec<Written>,
}

/// What a file says; values are checked for their TOML type only.
#[derive(Debug, Default)]
pub struct File {
    pub written: Vec<Written>,
    /// Lists that are there, even if empty.
    pub lists: Vec<&'static OptionInfo>,
    pub sections: Vec<Section>,
    pub found: Diagnostics,
}

/// Reads a configuration file.
pub fn read(source: &Source) -> File {
    let (text, mut report) = document::open(source);
    let mut file = File::default();
    for (key, value) in &document::table(&text) {
        let name = key.get_ref().as_ref();
        match (named(name), name) {
            (_, "") => {}
            (_, LISTENER) => file.sections = sections(&mut report, value),
            (Some(option), _) if option.scope != Scope::CommandLine => {
                if option.is_list() {
                    file.lists.push(option);
                }
                file.written.extend(written(&mut report, option, value));
            }
            (found, _) => report.push(key.span(), |at| unknown(name, found, at)),
        }
    }
    file.found = report.finish();
    file
}

fn unknown(name: &str, command_line: Option<&OptionInfo>, at: Origin) -> Diagnostic {
    if command_line.is_some() {
        return Diagnostic::error(at, format!("`{name}` is a flag of the command line, not an option of a file"));
    }
    let known = OPTIONS.iter().filter(|option| option.scope != Scope::CommandLine).map(|option| option.name);
    let diagnostic = Diagnostic::error(at, format!("no option is called {}", shown(name)));
    match nearest(name, known.chain([LISTENER])) {
        Some(near) => diagnostic.help(format!("did you mean `{near}`?")),
        None => diagnostic.allowed("the options that `candor-broker --help-config` prints"),
    }
}

fn sections(report: &mut Report, value: &Spanned<DeValue<'_>>) -> Vec<Section> {
    let mut sections = Vec::new();
    let DeValue::Array(items) = value.get_ref() else {
        let what = format!("`listener` is {} here", type_name(value.get_ref()));
        report.push(value.span(), |at| Diagnostic::error(at, what).help("each listener has a section of its own: write [[listener]]"));
        return sections;
    };
    for item in items {
        match item.get_ref() {
            DeValue::Table(table) => sections.extend(section(report, table, item.span())),
            other => report.push(item.span(), |at| {
                let what = format!("a listener is a section, and this is {}", type_name(other));
                Diagnostic::error(at, what).help("write [[listener]], and below it url = \"...\"; plain URLs belong into `listen`")
            }),
        }
    }
    sections
}

fn section(report: &mut Report, table: &DeTable<'_>, header: Range<usize>) -> Option<Section> {
    let mut settings = Vec::new();
    for (key, value) in table {
        let name = key.get_ref().as_ref();
        match named(name) {
            _ if name.is_empty() || name == URL => {}
            Some(option) if option.scope == Scope::Listener => settings.extend(written(report, option, value)),
            found => report.push(key.span(), |at| unknown_in_section(name, found, at)),
        }
    }
    let Some(text) = table.get(URL) else {
        report.push_missing(header, |at| Diagnostic::error(at, "this listener has no url").allowed(url::FORM));
        return None;
    };
    let wrong = |what: String| Wrong { what, allowed: url::FORM.into(), help: None };
    let url = match text.get_ref().as_str() {
        Some(text) => listener::parse_url(text).map_err(|what| wrong(format!("url: {} {what}", shown(text)))),
        None => Err(wrong(format!("url: this is {}", type_name(text.get_ref())))),
    };
    match url {
        Ok(url) => Some(Section { url, origin: report.origin(text.span()), written: settings }),
        Err(wrong) => {
            report.push(text.span(), |at| wrong.at(at));
            None
        }
    }
}

fn unknown_in_section(name: &str, found: Option<&OptionInfo>, at: Origin) -> Diagnostic {
    let known = || OPTIONS.iter().filter(|option| option.scope == Scope::Listener).map(|option| option.name);
    if found.is_some_and(|option| option.scope == Scope::Server) {
        let what = format!("`{name}` holds for the whole server, not for one listener");
        return Diagnostic::error(at, what).help("move it above the first [[listener]]");
    }
    let allowed = std::iter::once(URL).chain(known()).collect::<Vec<_>>().join(", ");
    let diagnostic = Diagnostic::error(at, format!("a listener has no option {}", shown(name))).allowed(allowed);
    match nearest(name, known().chain([URL])) {
        Some(near) => diagnostic.help(format!("did you mean `{near}`?")),
        None => diagnostic,
    }
}

/// The texts of a value, as its option reads them.
fn written(report: &mut Report, option: &'static OptionInfo, value: &Spanned<DeValue<'_>>) -> Vec<Written> {
    if option.is_list() {
        let texts = document::texts(report, option.name, value);
        return texts.into_iter().map(|(text, span)| Written { option, text: text.to_owned(), origin: report.origin(span) }).collect();
    }
    match text_of(option, value.get_ref()) {
        Ok(text) => vec![Written { option, text, origin: report.origin(value.span()) }],
        Err(wrong) => {
            report.push(value.span(), |at| wrong.at(at));
            Vec::new()
        }
    }
}

fn text_of(option: &OptionInfo, value: &DeValue<'_>) -> Result<String, Wrong> {
    let with_help = |what: String, help: String| Wrong { help: Some(help), ..option.kind.wrong(format!("{}: {what}", option.name)) };
    match (&option.kind, value) {
        (Kind::Switch { .. }, DeValue::Boolean(on)) => Ok(on.to_string()),
        (Kind::Number { .. } | Kind::Bytes { .. } | Kind::Seconds { .. }, DeValue::Integer(number)) => {
            let decimal = i128::from_str_radix(number.as_str(), number.radix()).map(|number| number.to_string());
            Ok(decimal.unwrap_or_else(|_| number.to_string()))
        }
        (Kind::Switch { .. } | Kind::Number { .. }, DeValue::String(text)) => {
            Err(with_help("this is text".into(), format!("write {}, without quotation marks", shown(text).trim_matches('`'))))
        }
        (_, DeValue::String(text)) => Ok(text.clone().into_owned()),
        (kind, DeValue::Float(_) | DeValue::Integer(_)) if kind.takes(&plain(value)) => {
            Err(with_help(format!("this is {}", type_name(value)), format!("write \"{}\", in quotation marks", plain(value))))
        }
        _ => Err(option.kind.wrong(format!("{}: this is {}", option.name, type_name(value)))),
    }
}

/// A number as it was written.
fn plain(value: &DeValue<'_>) -> String {
    match value {
        DeValue::Float(number) => number.as_str().to_owned(),
        DeValue::Integer(number) => number.to_string(),
        _ => String::new(),
    }
}
