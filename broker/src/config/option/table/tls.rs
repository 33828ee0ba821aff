//! TLS of a listener.

use super::{Group, choice, row};
use crate::config::kind::Kind::{self, Path, Switch};
use crate::config::listener::TlsMin;
use crate::config::option::{
    DefaultValue::{Text, Unset},
    Scope,
};

pub(super) static GROUP: Group = Group {
    heading: "TLS",
    options: &[
        row(
            "tls_cert",
            Path { set: |d, path| d.policy.tls.cert = Some(path) },
            Unset("none"),
            "The certificate chain of this server, PEM.",
        )
        .scope(Scope::Listener),
        row("tls_key", Path { set: |d, path| d.policy.tls.key = Some(path) }, Unset("none"), "The private key of this server, PEM.")
            .scope(Scope::Listener),
        row(
            "tls_development",
            Path { set: |d, path| d.policy.tls.development = Some(path) },
            Unset("none"),
            "A folder in which a certificate authority and a certificate for trying out are made and kept, in place of tls_cert and tls_key.",
        )
        .scope(Scope::Listener),
        row(
            "tls_min",
            Kind::Choice(&[
                choice("1.2", "TLS 1.2 and 1.3", |d| d.policy.tls.min = TlsMin::V1_2),
                choice("1.3", "TLS 1.3 only", |d| d.policy.tls.min = TlsMin::V1_3),
            ]),
            Text("1.3"),
            "The oldest TLS version that is served.",
        )
        .why("Extended clients speak 1.3; devices that cannot are a reason to write 1.2.")
        .scope(Scope::Listener),
        row(
            "tls_client_ca",
            Path { set: |d, path| d.policy.tls.client_ca = Some(path) },
            Unset("none: client certificates are not asked for"),
            "The authority of client certificates, PEM; a client that shows one is known by the name in it.",
        )
        .scope(Scope::Listener),
        row(
            "tls_client_required",
            Switch { set: |d, on| d.policy.tls.client_required = on },
            Text("false"),
            "Whether a client must show a certificate.",
        )
        .scope(Scope::Listener),
    ],
};
