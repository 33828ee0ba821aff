//! What outlives what, and where it is kept.

use super::{Group, choice, row};
use crate::config::kind::Kind::{self, Path, Switch};
use crate::config::option::{
    DefaultValue::{Text, Unset},
    Scope,
};
use candor_protocol::packet::profile::Durability;

pub(super) static GROUP: Group = Group {
    heading: "Storage",
    options: &[
        row(
            "durability",
            Kind::Choice(&[
                choice("none", "nothing outlives the connection", |d| d.policy.durability = Durability::None),
                choice("memory", "it outlives the connection, not the process", |d| d.policy.durability = Durability::Memory),
                choice("disk", "it outlives the process and the power", |d| d.policy.durability = Durability::Disk),
            ]),
            Text("disk"),
            "What an acknowledged message survives that comes through a listener, and the state of a session that begins there.",
        )
        .why("A publisher that is told \"accepted\" takes it to mean that the power may fail; what is less has to be asked for.")
        .scope(Scope::Listener),
        row(
            "data_dir",
            Path { set: |d, path| d.config.storage.data_dir = Some(path) },
            Unset("candor-data, where the durability of a listener is disk"),
            "The folder for everything that is kept on disk.",
        ),
        row(
            "salvage",
            Switch { set: |d, on| d.config.storage.salvage = on },
            Text("false"),
            "Starts although files in data_dir are damaged: keeps what can be read, puts the damaged files aside as NAME.damaged, and tells \
             those who were owed what is lost.",
        )
        .why("Whoever has a copy of the folder restores it instead; a start that loses something is asked for.")
        .scope(Scope::CommandLine),
    ],
};
