//! The table: a file for each group. Here is in which order they stand, and what their rows are made of.

mod access;
mod command;
mod connections;
mod dead_letters;
mod operation;
mod plain;
mod quarantine;
mod reports;
mod served;
mod sessions;
mod storage;
mod tls;

use super::info::{DefaultValue, Group, OptionInfo, Scope};
use super::value::namespace;
use crate::config::Draft;
use crate::config::diagnostic::Origin;
use crate::config::kind::{Choice, Kind, NAMESPACE};

/// All groups, in the order in which they are shown.
pub static GROUPS: &[&Group] = &[
    &served::GROUP,
    &tls::GROUP,
    &access::GROUP,
    &storage::GROUP,
    &connections::GROUP,
    &sessions::GROUP,
    &dead_letters::GROUP,
    &reports::GROUP,
    &plain::GROUP,
    &quarantine::GROUP,
    &operation::GROUP,
    &command::GROUP,
];

const fn row(name: &'static str, kind: Kind, default: DefaultValue, sentence: &'static str) -> OptionInfo {
    OptionInfo { name, kind, default, sentence, why: "", scope: Scope::Server, short: None }
}

const fn choice(name: &'static str, meaning: &'static str, set: fn(&mut Draft)) -> Choice {
    Choice { name, meaning, set }
}

/// Any number of namespaces.
const fn namespaces(clear: fn(&mut Draft), add: fn(&mut Draft, &str, Origin)) -> Kind {
    Kind::List { form: NAMESPACE, check: |text| namespace(text).map(drop), clear, add }
}

/// A number whose range fits `u32`; beyond it, which the range excludes, it saturates.
fn narrow(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// As [`narrow`], for ranges that fit `u16`.
fn short(number: u64) -> u16 {
    u16::try_from(number).unwrap_or(u16::MAX)
}

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const TIB: u64 = 1 << 40;
/// The longest time short of `forever`: a hundred years of 365 days.
const CENTURY_S: u64 = 100 * 365 * 86_400;
