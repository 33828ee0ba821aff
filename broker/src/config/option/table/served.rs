//! Who is served where, and what the server is called.

use super::{Group, choice, namespaces, row};
use crate::config::kind::Kind::{self, List};
use crate::config::listener::{self, Disclosure, Extended};
use crate::config::machine;
use crate::config::option::value::{check_experiment, check_node, namespace};
use crate::config::option::{
    DefaultValue::{Computed, Text, Unset},
    Scope,
};
use crate::transport::url;

pub(super) static GROUP: Group = Group {
    heading: "What is served",
    options: &[
        row(
            "listen",
            List {
                form: url::FORM,
                check: |text| listener::parse_url(text).map(drop),
                clear: |d| d.listen.clear(),
                add: |d, text, origin| d.listen.extend(listener::parse_url(text).map(|url| (url, origin))),
            },
            Text("mqtt://127.0.0.1:1883"),
            "Where clients are served; may be given several times; a WebSocket without a path is served at /mqtt and /.",
        )
        .why("Only this machine reaches it: who opens a broker to others says so."),
        row(
            "extended",
            Kind::Choice(&[
                choice("on", "extended and plain clients side by side", |d| d.policy.extended = Extended::On),
                choice("off", "plain 3.1.1 only", |d| d.policy.extended = Extended::Off),
                choice("required", "extended clients only; a plain CONNECT gets return code 5", |d| d.policy.extended = Extended::Required),
            ]),
            Text("on"),
            "Whether the extension is served.",
        )
        .scope(Scope::Listener),
        row(
            "disclosure",
            Kind::Choice(&[
                choice("full", "the reason and the problem", |d| d.policy.disclosure = Disclosure::Full),
                choice("code", "the reason only", |d| d.policy.disclosure = Disclosure::Code),
                choice("opaque", "only that it failed", |d| d.policy.disclosure = Disclosure::Opaque),
            ]),
            Text("full"),
            "How much of a problem is told to a client; before it is authenticated it is never more than the reason.",
        )
        .scope(Scope::Listener),
        row(
            "node",
            Kind::Text { form: "1 to 64 letters, digits, `.`, `-`, `_`", check: check_node, set: |d, text| d.config.node = text },
            Computed { words: "the host name", text: machine::hostname },
            "The name of this server, in stamps, logs and `$SYS/`.",
        ),
        row(
            "stamps",
            namespaces(|d| d.config.stamps.clear(), |d, text, _| d.config.stamps.extend(namespace(text))),
            Unset("none"),
            "A namespace whose messages say, to extended subscribers and in envelopes, which user published them, which server took them \
             and when; may be given several times.",
        )
        .why("Who published is not everybody's to know."),
        row(
            "experiments",
            List {
                form: "the name of an experiment: letters, digits, `-`",
                check: check_experiment,
                clear: |d| d.experiments.clear(),
                add: |d, text, origin| d.experiments.push((text.to_owned(), origin)),
            },
            Unset("none"),
            "An experiment that is switched on; may be given several times.",
        ),
    ],
};
