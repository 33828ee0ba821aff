//! What publishers hear of their messages.

use super::{Group, namespaces, row};
use crate::config::kind::Kind::Seconds;
use crate::config::option::DefaultValue::{Text, Unset};
use crate::config::option::value::namespace;

pub(super) static GROUP: Group = Group {
    heading: "Reports to publishers",
    options: &[
        row(
            "reports",
            namespaces(|d| d.config.reports.clear(), |d, text, _| d.config.reports.extend(namespace(text))),
            Unset("none: a publisher that asks is told that there are none"),
            "A namespace whose publishers may be told how many subscribers took a message, or why not; may be given several times.",
        ),
        row(
            "report_wait_s",
            Seconds { min: 1, max: 86_400, forever: false, set: |d, s| d.config.report_wait_s = s },
            Text("1m"),
            "How long a report waits for subscribers; who has not answered by then is told as pending.",
        ),
    ],
};
