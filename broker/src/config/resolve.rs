//! From flags and file to one configuration: a flag overrides the file, the file overrides the default.

use super::check;
use super::diagnostic::{Diagnostics, Origin};
use super::file::{self, File, Written};
use super::kind::Kind;
use super::listener::{Listener, Policy};
use super::option::{DefaultValue, OptionInfo, Scope, named, options};
use super::source::Source;
use super::{Available, Config, Draft, Namespace};
use crate::transport::url::ListenUrl;
use std::path::Path;

/// A configuration, with where each value came from and what is doubtful about it.
#[derive(Debug, Clone)]
pub struct Loaded {
    pub config: Config,
    /// One for each option of the table, in its order.
    pub settings: Vec<Setting>,
    pub warnings: Diagnostics,
}

/// One option as it stands in the end.
#[derive(Debug, Clone)]
pub struct Setting {
    pub option: &'static OptionInfo,
    /// As it was written; for a default, what it is on this machine.
    pub text: String,
    pub origin: Origin,
    /// The value was refused, and what stands in the draft is not what was meant.
    refused: bool,
}

/// Puts a configuration together.
///
/// A flag replaces what the file says for the whole server; what a `[[listener]]` section says for itself stays. Flags
/// `--listen` replace every listener of the file.
///
/// # Errors
/// Everything that is wrong with flags and file, and with how they fit together.
pub fn resolve(flags: &[Written], source: Option<&Source>, available: &Available<'_>) -> Result<Loaded, Diagnostics> {
    let file = source.map(file::read).unwrap_or_default();
    let folder = source.and_then(|source| Path::new(source.name()).parent()).unwrap_or(Path::new(""));
    let mut build = Build::with_defaults();
    build.apply_file(&file, folder);
    build.apply_flags(flags);
    build.follow();
    let candidates = build.candidates(&file, folder, flags.iter().any(|written| written.option.name == "listen"));
    build.namespaces(&file, folder);
    let listeners = candidates.iter().filter_map(|candidate| check::listener(candidate, &mut build)).collect();
    check::server(&mut build, &candidates, available);
    build.into_loaded(listeners)
}

/// A listener before it is checked.
#[derive(Debug, Clone)]
pub(super) struct Candidate {
    pub(super) url: ListenUrl,
    pub(super) policy: Policy,
    pub(super) origin: Origin,
    /// What its own section sets.
    pub(super) own: Vec<Written>,
}

/// A configuration while values are applied and checked.
#[derive(Debug)]
pub(super) struct Build {
    pub(super) draft: Draft,
    settings: Vec<Setting>,
    pub(super) found: Diagnostics,
}

impl Build {
    fn with_defaults() -> Self {
        let fresh = |option| Setting { option, text: String::new(), origin: Origin::Default, refused: false };
        let settings = options().map(fresh).collect();
        let mut build = Self { draft: Draft::default(), settings, found: Diagnostics::default() };
        for option in options() {
            let text = match option.default {
                DefaultValue::Text(text) => text.to_owned(),
                DefaultValue::Computed { text, .. } => text(),
                DefaultValue::Unset(_) => continue,
            };
            build.set(&Written { option, text, origin: Origin::Default }, Path::new(""));
        }
        build
    }

    fn apply_file(&mut self, file: &File, folder: &Path) {
        self.found.extend(file.found.clone());
        file.lists.iter().for_each(|option| self.clear(option));
        // A file with sections and without `listen` serves the sections alone.
        if !file.listeners.is_empty() {
            named("listen").into_iter().for_each(|option| self.clear(option));
        }
        file.written.iter().for_each(|written| self.set(written, folder));
    }

    fn apply_flags(&mut self, flags: &[Written]) {
        for (n, written) in flags.iter().enumerate() {
            if !flags[..n].iter().any(|earlier| earlier.option.name == written.option.name) {
                self.clear(written.option);
            }
            self.set(written, Path::new(""));
        }
    }

    /// Defaults that follow from what was set.
    fn follow(&mut self) {
        if self.origin("session_expiry_plain_s") == Origin::Default {
            let longest = self.draft.config.limits.session_expiry_max_s;
            let plain = &mut self.draft.config.plain.session_expiry_s;
            *plain = longest.min(*plain);
        }
    }

    /// Empties a list, so that what comes replaces what was.
    fn clear(&mut self, option: &'static OptionInfo) {
        let Kind::List { clear, .. } = option.kind else { return };
        clear(&mut self.draft);
        self.settings.iter_mut().filter(|setting| setting.option.name == option.name).for_each(|setting| setting.text.clear());
    }

    fn set(&mut self, written: &Written, folder: &Path) {
        let accepted = self.try_set(written, folder);
        let Some(setting) = self.settings.iter_mut().find(|setting| setting.option.name == written.option.name) else { return };
        if written.option.is_list() && !setting.text.is_empty() {
            setting.text.push_str(", ");
            setting.text.push_str(&written.text);
        } else {
            setting.text = written.text.clone();
        }
        setting.origin = written.origin.clone();
        setting.refused |= !accepted;
    }

    /// Writes one value into the draft; `false`: it is refused, and reported.
    fn try_set(&mut self, written: &Written, folder: &Path) -> bool {
        let Written { option, text, origin } = written;
        let Err(mut wrong) = option.kind.set(&mut self.draft, text, folder, origin.clone()) else { return true };
        // A flag is its own name.
        if !matches!(origin, Origin::Flag(_)) {
            wrong.what = format!("{}: {}", option.name, wrong.what);
        }
        self.found.push(wrong.at(origin.clone()));
        false
    }

    /// The listeners: those of `listen` under the policy of the server, and those of the sections under their own.
    fn candidates(&mut self, file: &File, folder: &Path, by_flag: bool) -> Vec<Candidate> {
        let server = self.draft.policy.clone();
        let plain = |(url, origin)| Candidate { url, policy: server.clone(), origin, own: Vec::new() };
        let mut all: Vec<Candidate> = self.draft.listen.iter().cloned().map(plain).collect();
        for section in &file.listeners {
            self.draft.policy = server.clone();
            // They are tried even where flags replace the sections: a wrong line is wrong.
            let refused = section.written.iter().filter(|written| !self.try_set(written, folder)).count();
            if refused == 0 && !by_flag {
                let (url, origin, own) = (section.head.clone(), section.origin.clone(), section.written.clone());
                all.push(Candidate { url, policy: self.draft.policy.clone(), origin, own });
            }
        }
        self.draft.policy = server;
        all
    }

    /// The namespaces: each with what its section sets.
    fn namespaces(&mut self, file: &File, folder: &Path) {
        let server = self.draft.config.limits.clone();
        for section in &file.namespaces {
            self.draft.config.limits = server.clone();
            let refused = section.written.iter().filter(|written| !self.try_set(written, folder)).count();
            let is_set = |name: &str| section.written.iter().any(|written| written.option.name == name);
            let limits = &self.draft.config.limits;
            let namespace = Namespace {
                filter: section.head.clone(),
                queue_length_max: is_set("queue_length_max").then_some(limits.queue_length_max),
                queue_bytes_max: is_set("queue_bytes_max").then_some(limits.queue_bytes_max),
                overflow: limits.overflow,
                message_expiry_max_s: is_set("message_expiry_max_s").then_some(limits.message_expiry_max_s),
            };
            if refused == 0 {
                let found = check::namespace(&namespace, section, self);
                self.found.extend(found);
                self.draft.config.namespaces.push(namespace);
            }
        }
        self.draft.config.limits = server;
    }

    fn into_loaded(mut self, listeners: Vec<Listener>) -> Result<Loaded, Diagnostics> {
        self.draft.config.listeners = listeners;
        self.draft.config.experiments = self.draft.experiments.into_iter().map(|(name, _)| name).collect();
        let ((), warnings) = self.found.unless_errors(())?;
        Ok(Loaded { config: self.draft.config, settings: self.settings, warnings })
    }

    /// Where the option `name` was set.
    pub(super) fn origin(&self, name: &str) -> Origin {
        self.settings.iter().find(|setting| setting.option.name == name).map_or(Origin::Default, |setting| setting.origin.clone())
    }

    /// Whether none of `names` was refused: what follows from a refused value is not told again.
    pub(super) fn accepted(&self, names: &[&str]) -> bool {
        !self.settings.iter().any(|setting| setting.refused && names.contains(&setting.option.name))
    }
}

impl Candidate {
    /// Where the option `name` was set for this listener: in its section, else for the server.
    pub(super) fn origin_of(&self, name: &str, build: &Build) -> Origin {
        let own = self.own.iter().find(|written| written.option.name == name);
        own.map_or_else(|| build.origin(name), |written| written.origin.clone())
    }
}

impl Setting {
    /// Whether nobody set it.
    pub fn is_default(&self) -> bool {
        self.origin == Origin::Default
    }

    /// Whether it belongs to the command rather than to the server.
    pub fn is_command(&self) -> bool {
        self.option.scope == Scope::CommandLine
    }
}

#[cfg(test)]
#[path = "resolve_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "section_tests.rs"]
mod section_tests;
