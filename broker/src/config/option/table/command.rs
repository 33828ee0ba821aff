//! What a call of the command does besides serving.

use super::{Group, row};
use crate::config::kind::Kind::{Path, Switch};
use crate::config::option::{
    DefaultValue::{Text, Unset},
    Scope,
};

pub(super) static GROUP: Group = Group {
    heading: "This command",
    options: &[
        row("config", Path { set: |d, path| d.config_file = Some(path) }, Unset("none"), "A TOML file with any of these options.")
            .scope(Scope::CommandLine)
            .short('c'),
        row(
            "check",
            Switch { set: |d, on| d.check = on },
            Text("false"),
            "Reads everything, password and rules files included, prints what would be served, and ends: with 0, or with 2 if anything is wrong.",
        )
        .scope(Scope::CommandLine),
        row(
            "against",
            Path { set: |d, path| d.against = Some(path) },
            Unset("none"),
            "With --check: says which clients of FILE, a listing by `candor clients --json`, would lose what under these users and rules.",
        )
        .scope(Scope::CommandLine),
        row(
            "help_config",
            Switch { set: |d, on| d.help_config = on },
            Text("false"),
            "Prints an annotated configuration file with every option at its default, and ends.",
        )
        .scope(Scope::CommandLine),
        row(
            "help_rules",
            Switch { set: |d, on| d.help_rules = on },
            Text("false"),
            "Prints an annotated rules file that shows every key, and ends.",
        )
        .scope(Scope::CommandLine),
    ],
};
