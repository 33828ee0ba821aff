//! The configuration file: TOML, a key for each option, a `[[listener]]` section for each listener with a policy of its own, and a
//! `[[namespace]]` section for each namespace with limits of its own.

use super::diagnostic::{Diagnostic, Diagnostics, Origin, nearest};
use super::document::{self, Report, type_name};
use super::kind::{Kind, NAMESPACE, Wrong, shown};
use super::listener;
use super::option::{OptionInfo, Scope, named, namespace, options};
use super::source::Source;
use crate::transport::url::{self, ListenUrl};
use candor_protocol::packet::TopicFilter;
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The longest configuration file, in bytes.
pub const LEN_MAX: u64 = 4 << 20;

/// A kind of section: `[[KEY]]`, with one key that says what it is about, and options of one scope.
struct SectionKind<T> {
    key: &'static str,
    /// The key of what it is about.
    head: &'static str,
    scope: Scope,
    /// What the head may be.
    form: &'static str,
    read: fn(&str) -> Result<T, String>,
    /// What is said to those who write something else than sections.
    hint: &'static str,
}

const LISTENER: SectionKind<ListenUrl> = SectionKind {
    key: "listener",
    head: "url",
    scope: Scope::Listener,
    form: url::FORM,
    read: listener::parse_url,
    hint: "; plain URLs belong into `listen`",
};

const NAMESPACES: SectionKind<TopicFilter> =
    SectionKind { key: "namespace", head: "filter", scope: Scope::Namespace, form: NAMESPACE, read: namespace, hint: "" };

/// A value as it was written: for a list, one of its items.
#[derive(Debug, Clone)]
pub struct Written {
    pub option: &'static OptionInfo,
    pub text: String,
    pub origin: Origin,
}

/// A section.
#[derive(Debug, Clone)]
pub struct Section<T> {
    /// What it is about.
    pub head: T,
    pub origin: Origin,
    pub written: Vec<Written>,
}

/// What a file says; values are checked for their TOML type only.
#[derive(Debug, Default)]
pub struct File {
    pub written: Vec<Written>,
    /// Lists that are there, even if empty.
    pub lists: Vec<&'static OptionInfo>,
    pub listeners: Vec<Section<ListenUrl>>,
    pub namespaces: Vec<Section<TopicFilter>>,
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
            (_, name) if name == LISTENER.key => file.listeners = sections(&mut report, value, &LISTENER),
            (_, name) if name == NAMESPACES.key => file.namespaces = sections(&mut report, value, &NAMESPACES),
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
    let known = options().filter(|option| option.scope != Scope::CommandLine).map(|option| option.name);
    let diagnostic = Diagnostic::error(at, format!("no option is called {}", shown(name)));
    match nearest(name, known.chain([LISTENER.key, NAMESPACES.key])) {
        Some(near) => diagnostic.help(format!("did you mean `{near}`?")),
        None => diagnostic.allowed("the options that `candor-broker --help-config` prints"),
    }
}

fn sections<T>(report: &mut Report, value: &Spanned<DeValue<'_>>, kind: &SectionKind<T>) -> Vec<Section<T>> {
    let SectionKind { key, head, hint, .. } = *kind;
    let mut sections = Vec::new();
    let DeValue::Array(items) = value.get_ref() else {
        let what = format!("`{key}` is {} here", type_name(value.get_ref()));
        report.push(value.span(), |at| Diagnostic::error(at, what).help(format!("each {key} has a section of its own: write [[{key}]]")));
        return sections;
    };
    for item in items {
        match item.get_ref() {
            DeValue::Table(table) => sections.extend(section(report, table, item.span(), kind)),
            other => report.push(item.span(), |at| {
                let what = format!("a {key} is a section, and this is {}", type_name(other));
                Diagnostic::error(at, what).help(format!("write [[{key}]], and below it {head} = \"...\"{hint}"))
            }),
        }
    }
    sections
}

fn section<T>(report: &mut Report, table: &DeTable<'_>, header: Range<usize>, kind: &SectionKind<T>) -> Option<Section<T>> {
    let SectionKind { key, head, form, .. } = *kind;
    let mut settings = Vec::new();
    for (name, value) in table {
        let (span, name) = (name.span(), name.get_ref().as_ref());
        match named(name) {
            _ if name.is_empty() || name == head => {}
            Some(option) if option.scope == kind.scope => settings.extend(written(report, option, value)),
            found => report.push(span, |at| unknown_in_section(name, found, at, kind)),
        }
    }
    let Some(text) = table.get(head) else {
        report.push_missing(header, |at| Diagnostic::error(at, format!("this {key} has no {head}")).allowed(form));
        return None;
    };
    let wrong = |what: String| Wrong { what, allowed: form.into(), help: None };
    let read = match text.get_ref().as_str() {
        Some(text) => (kind.read)(text).map_err(|what| wrong(format!("{head}: {} {what}", shown(text)))),
        None => Err(wrong(format!("{head}: this is {}", type_name(text.get_ref())))),
    };
    match read {
        Ok(head) => Some(Section { head, origin: report.origin(text.span()), written: settings }),
        Err(wrong) => {
            report.push(text.span(), |at| wrong.at(at));
            None
        }
    }
}

fn unknown_in_section<T>(name: &str, found: Option<&OptionInfo>, at: Origin, kind: &SectionKind<T>) -> Diagnostic {
    let SectionKind { key, head, scope, .. } = *kind;
    let known = || options().filter(|option| option.scope == scope).map(|option| option.name);
    if found.is_some_and(|option| option.scope != Scope::CommandLine) {
        let what = format!("`{name}` holds for the whole server, not for one {key}");
        let what = if found.is_some_and(|option| option.scope == LISTENER.scope) {
            format!("`{name}` is a listener's, not a {key}'s")
        } else {
            what
        };
        return Diagnostic::error(at, what).help(format!("move it above the first [[{key}]]"));
    }
    let allowed = std::iter::once(head).chain(known()).collect::<Vec<_>>().join(", ");
    let diagnostic = Diagnostic::error(at, format!("a {key} has no option {}", shown(name))).allowed(allowed);
    match nearest(name, known().chain([head])) {
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
