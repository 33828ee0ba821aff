//! Experiments: changes to the protocol that can be switched on, negotiated by name, and run on one side only.
//!
//! An experiment says its name, the keys and reasons it adds, and hooks for packets on their way. Only the name is
//! required. It is in force on a connection when both ends list it (key `extensions`); a peer that does not know it is
//! never sent any of it. Its keys have negative numbers and its reasons 0x60 to 0x6F or 0xD8 to 0xDF, so that they
//! collide with nothing registered. Hooks hold no state: what they must remember travels in keys.
//!
//! ```
//! use candor_protocol::extension::{Context, Extension};
//! use candor_protocol::codec::dictionary::MapBuilder;
//! use candor_protocol::packet::kind::{Kind, Kinds};
//! use candor_protocol::packet::property::{Key, KeyInfo, KeyValue, Range, Writer};
//! use candor_protocol::packet::Packet;
//!
//! const HOPS: Key<u64> = Key::new("x-hops", -1);
//! const KEYS: &[KeyInfo] = &[KeyInfo {
//!     number: HOPS.number, name: HOPS.name, value: <u64 as KeyValue>::TYPE,
//!     packets: Kinds::of(&[Kind::Publish]), writer: Writer::Both,
//!     range: Range::Any, meaning: "Servers passed so far.",
//! }];
//!
//! #[derive(Debug)]
//! struct Hops;
//!
//! impl Extension for Hops {
//!     fn name(&self) -> &'static str { "x-hops" }
//!     fn keys(&self) -> &'static [KeyInfo] { KEYS }
//!     fn outbound(&self, _context: &Context<'_>, packet: &mut Packet) {
//!         if let Packet::Publish(publish) = packet {
//!             let hops = publish.dictionary.value(HOPS).unwrap_or(0) + 1;
//!             publish.dictionary = MapBuilder::new().merge(&publish.dictionary).set(HOPS, &hops).finish();
//!         }
//!     }
//! }
//! ```

pub mod priority;

use crate::dialect::Terms;
use crate::packet::legality::Role;
use crate::packet::property::KeyInfo;
use crate::packet::reason::ReasonInfo;
use crate::packet::{Packet, Refusal};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// Where a hook is called.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// This end.
    pub role: Role,
    pub terms: &'a Terms,
}

/// One experiment.
pub trait Extension: fmt::Debug + Send + Sync {
    /// The name it is negotiated by: `x-` and lower case letters, digits and hyphens.
    fn name(&self) -> &'static str;

    /// The keys it adds; numbers are negative.
    fn keys(&self) -> &'static [KeyInfo] {
        &[]
    }

    /// The reasons it adds: 0x60 to 0x6F and 0xD8 to 0xDF.
    fn reasons(&self) -> &'static [ReasonInfo] {
        &[]
    }

    /// Changes the agreement when the experiment comes into force.
    fn terms(&self, _role: Role, _terms: &mut Terms) {}

    /// Looks at a packet from the peer before the session does.
    ///
    /// # Errors
    /// A refusal, which is answered as any other is: with the acknowledgement where there is one.
    fn inbound(&self, _context: &Context<'_>, _packet: &mut Packet) -> Result<(), Refusal> {
        Ok(())
    }

    /// Changes a packet to the peer before it is encoded. A PUBLISH that is sent to many is changed for each of them,
    /// so an experiment that wants this pays an encoding per receiver.
    fn outbound(&self, _context: &Context<'_>, _packet: &mut Packet) {}
}

/// The experiments that one end runs, in the order their hooks are called; at most 64.
#[derive(Clone, Default)]
pub struct Registry(Vec<Arc<dyn Extension>>);

/// Why an experiment cannot be registered.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum BadExtension {
    /// The name does not have the form that names have.
    Name(String),
    /// The name, a key or a reason is taken.
    Taken(String),
    /// A key or reason is outside the ranges of experiments.
    OutOfRange(String),
    /// There are 64 already.
    TooMany,
}

impl fmt::Display for BadExtension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => write!(f, "`{name}` is not a name for an experiment: `x-` and lower case letters, digits and hyphens"),
            Self::Taken(what) => write!(f, "{what} is taken by another experiment"),
            Self::OutOfRange(what) => {
                write!(f, "{what} is outside the ranges of experiments: keys below 0, reasons 0x60 to 0x6F and 0xD8 to 0xDF")
            }
            Self::TooMany => f.write_str("there are 64 experiments already"),
        }
    }
}

impl std::error::Error for BadExtension {}

impl Registry {
    /// Adds an experiment.
    ///
    /// # Errors
    /// Its name, a key or a reason is malformed or taken.
    pub fn add(&mut self, extension: Arc<dyn Extension>) -> Result<(), BadExtension> {
        let name = extension.name();
        let tail = name.strip_prefix("x-").unwrap_or_default();
        if tail.is_empty() || name.len() > 64 || !tail.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
            return Err(BadExtension::Name(name.to_owned()));
        }
        if self.0.len() == 64 {
            return Err(BadExtension::TooMany);
        }
        for other in &self.0 {
            if other.name() == name {
                return Err(BadExtension::Taken(format!("the name {name}")));
            }
            if let Some(key) = extension.keys().iter().find(|key| other.keys().iter().any(|taken| taken.number == key.number)) {
                return Err(BadExtension::Taken(format!("key {}", key.number)));
            }
            if let Some(row) = extension.reasons().iter().find(|row| other.reasons().iter().any(|taken| taken.reason == row.reason)) {
                return Err(BadExtension::Taken(format!("reason 0x{:02X}", row.reason.0)));
            }
        }
        if let Some(key) = extension.keys().iter().find(|key| key.number >= 0) {
            return Err(BadExtension::OutOfRange(format!("key {}", key.number)));
        }
        if let Some(row) = extension.reasons().iter().find(|row| !matches!(row.reason.0, 0x60..=0x6F | 0xD8..=0xDF)) {
            return Err(BadExtension::OutOfRange(format!("reason 0x{:02X}", row.reason.0)));
        }
        self.0.push(extension);
        Ok(())
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arc<dyn Extension>> {
        self.0.iter()
    }

    /// The names, for the key `extensions`.
    pub fn names(&self) -> Vec<String> {
        self.0.iter().map(|extension| extension.name().to_owned()).collect()
    }

    /// The set of those that the peer names too.
    pub fn common(&self, names: &[String]) -> u64 {
        self.0
            .iter()
            .enumerate()
            .filter(|(_, extension)| names.iter().any(|name| name == extension.name()))
            .fold(0, |set, (at, _)| set | 1 << at)
    }

    /// The experiments of a set.
    pub fn in_force(&self, set: u64) -> impl Iterator<Item = &Arc<dyn Extension>> {
        self.0.iter().enumerate().filter(move |(at, _)| set & 1 << at != 0).map(|(_, extension)| extension)
    }

    /// The key of an experiment of the set.
    pub fn key(&self, set: u64, number: i64) -> Option<KeyInfo> {
        if set == 0 || number >= 0 {
            return None;
        }
        self.in_force(set).flat_map(|extension| extension.keys()).find(|key| key.number == number).copied()
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|extension| extension.name())).finish()
    }
}

/// Registries are equal when they run the same experiments in the same order.
impl PartialEq for Registry {
    fn eq(&self, other: &Self) -> bool {
        self.0.iter().map(|e| e.name()).eq(other.0.iter().map(|e| e.name()))
    }
}

impl Eq for Registry {}

impl Hash for Registry {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.iter().for_each(|extension| extension.name().hash(state));
    }
}
