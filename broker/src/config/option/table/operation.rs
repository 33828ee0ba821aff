//! How the server runs, and what it says of itself.

use super::{Group, choice, narrow, row};
use crate::config::kind::Kind::{self, Number, Seconds};
use crate::config::option::DefaultValue::{Computed, Text};
use crate::config::option::value::check_log;
use crate::config::{LogFormat, machine};

pub(super) static GROUP: Group = Group {
    heading: "Operation",
    options: &[
        row(
            "threads",
            Number { min: 1, max: 1024, set: |d, n| d.config.threads = narrow(n) },
            Computed { words: "the number of cores", text: || machine::cores().to_string() },
            "Threads that serve connections.",
        ),
        row(
            "log",
            Kind::Text {
                form: "error, warn, info, debug, trace, off, or a filter such as info,candor_broker::session=debug",
                check: check_log,
                set: |d, text| d.config.log.filter = text,
            },
            Text("info"),
            "What is logged, on standard error.",
        ),
        row(
            "log_format",
            Kind::Choice(&[
                choice("text", "lines for people", |d| d.config.log.format = LogFormat::Text),
                choice("json", "one JSON object a line", |d| d.config.log.format = LogFormat::Json),
            ]),
            Text("text"),
            "How it is logged.",
        ),
        row(
            "sys_interval_s",
            Seconds { min: 0, max: 86_400, forever: false, set: |d, s| d.config.sys_interval_s = s },
            Text("10s"),
            "The time between the messages below `$SYS/`; 0: none.",
        ),
    ],
};
