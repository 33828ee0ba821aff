//! Who may come, and what they may do.

use super::{Group, choice, row};
use crate::config::kind::Kind::{self, Path};
use crate::config::listener::Anonymous;
use crate::config::option::{
    DefaultValue::{Text, Unset},
    Scope,
};

pub(super) static GROUP: Group = Group {
    heading: "Users and rights",
    options: &[
        row(
            "anonymous",
            Kind::Choice(&[
                choice("loopback", "clients whose address is a loopback address", |d| d.policy.anonymous = Anonymous::Loopback),
                choice("never", "nobody", |d| d.policy.anonymous = Anonymous::Never),
                choice("always", "everybody", |d| d.policy.anonymous = Anonymous::Always),
            ]),
            Text("loopback"),
            "Who may connect without user name, password and certificate.",
        )
        .why("It works out of the box on one machine, and is closed on a network.")
        .scope(Scope::Listener),
        row(
            "password_file",
            Path { set: |d, path| d.config.access.password_file = Some(path) },
            Unset("none: no password is accepted"),
            "The users and their passwords; entries are made with `candor-broker passwd FILE USER`.",
        ),
        row(
            "rules_file",
            Path { set: |d, path| d.config.access.rules_file = Some(path) },
            Unset("none: whoever is admitted may do everything but publish to topics that begin with $"),
            "The rules that say who may connect, publish and subscribe.",
        ),
    ],
};
