//! What 3.1.1 leaves open.

use super::{CENTURY_S, Group, choice, row};
use crate::config::EphemeralSession;
use crate::config::kind::Kind::{self, Seconds};
use crate::config::listener::RefusedPublish;
use crate::config::option::{
    DefaultValue::{Computed, Text},
    Scope,
};

pub(super) static GROUP: Group = Group {
    heading: "What plain 3.1.1 clients get",
    options: &[
        row(
            "refused_publish_plain",
            Kind::Choice(&[
                choice("close", "the connection is closed", |d| d.policy.refused_publish_plain = RefusedPublish::Close),
                choice("acknowledge-and-drop", "it is acknowledged although it is dropped", |d| {
                    d.policy.refused_publish_plain = RefusedPublish::AcknowledgeAndDrop;
                }),
            ]),
            Text("close"),
            "What follows on a refused PUBLISH above QoS 0; 3.1.1 has no third way.",
        )
        .why("An acknowledgement would say that the message was taken.")
        .scope(Scope::Listener),
        row(
            "session_expiry_plain_s",
            Seconds { min: 1, max: CENTURY_S, forever: true, set: |d, s| d.config.plain.session_expiry_s = s },
            Computed { words: "7d, or session_expiry_max_s if that is less", text: || "7d".into() },
            "How long a session with CleanSession 0 outlives its connection; at most session_expiry_max_s.",
        )
        .why("3.1.1 lets a client neither ask nor know; a week covers a long weekend and a repair."),
        row(
            "ephemeral_session_plain",
            Kind::Choice(&[
                choice("refuse", "CONNACK 3, server unavailable", |d| d.config.plain.ephemeral_session = EphemeralSession::Refuse),
                choice("accept", "CONNACK 0, and the session ends with the connection", |d| {
                    d.config.plain.ephemeral_session = EphemeralSession::Accept;
                }),
            ]),
            Text("refuse"),
            "What a client with CleanSession 0 gets where the durability is none and no session is kept.",
        )
        .why("Accepting would promise a session that is lost with the connection."),
    ],
};
