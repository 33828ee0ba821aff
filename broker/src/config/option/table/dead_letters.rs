//! Where rejected messages go.

use super::{Group, KIB, TIB, namespaces, narrow, row};
use crate::config::kind::Kind::{Bytes, Number, Switch};
use crate::config::option::DefaultValue::{Text, Unset};
use crate::config::option::value::namespace;

pub(super) static GROUP: Group = Group {
    heading: "Messages that are rejected",
    options: &[
        row(
            "dead_letters",
            namespaces(|d| d.config.dead_letters.namespaces.clear(), |d, text, _| d.config.dead_letters.namespaces.extend(namespace(text))),
            Unset("none: what is rejected is dropped"),
            "A namespace whose rejected messages are kept, as retained messages below `$dead-letters/`; may be given several times, and the first that matches a topic counts.",
        ),
        row(
            "dead_letters_max",
            Number { min: 1, max: 10_000_000, set: |d, n| d.config.dead_letters.len_max = narrow(n) },
            Text("1000"),
            "Dead letters of one namespace; what is rejected when there are so many is dropped, and told.",
        )
        .why("More than anybody looks through by hand; what was kept is never dropped for what comes later."),
        row(
            "dead_letters_bytes_max",
            Bytes { min: KIB, max: TIB, set: |d, n| d.config.dead_letters.bytes_max = n },
            Text("16MiB"),
            "Bytes of the dead letters of one namespace.",
        ),
        row(
            "dead_letters_text",
            Switch { set: |d, on| d.config.dead_letters.text = on },
            Text("false"),
            "Whether a dead letter keeps the free text that its subscriber rejected it with.",
        )
        .why("What a subscriber writes may hold what the readers of its topic are not to see."),
    ],
};
