//! What one connection may take.

use super::{Group, KIB, MIB, TIB, narrow, row, short};
use crate::config::kind::Kind::{Bytes, Number, Seconds};
use crate::config::machine;
use crate::config::option::DefaultValue::{Computed, Text, Unset};
use candor_protocol::dialect::terms::PACKET_SIZE_MAX;

pub(super) static GROUP: Group = Group {
    heading: "Limits of a connection",
    options: &[
        row(
            "packet_size_max",
            Bytes { min: KIB, max: PACKET_SIZE_MAX as u64, set: |d, n| d.config.limits.packet_size_max = narrow(n) },
            Text("10MiB"),
            "The largest packet that is taken from a client, fixed header included.",
        )
        .why("An image or a firmware block fits, and the memory limit of a machine with 1 GiB still holds 25 of them at once."),
        row(
            "receive_maximum",
            Number { min: 1, max: 65_535, set: |d, n| d.config.limits.receive_maximum = short(n) },
            Text("1000"),
            "Messages above QoS 0 that one client may have unacknowledged towards the server; extended clients are told.",
        )
        .why("At a round trip of 50 ms it lets one connection send 20,000 messages a second."),
        row(
            "send_window",
            Number { min: 1, max: 65_535, set: |d, n| d.config.limits.send_window = short(n) },
            Text("100"),
            "Messages above QoS 0 that are unacknowledged towards a client that names no maximum of its own.",
        )
        .why("3.1.1 has no flow control, so small devices must bear it; at a round trip of 50 ms it still is 2,000 messages a second."),
        row(
            "connections_max",
            Number { min: 1, max: 10_000_000, set: |d, n| d.config.limits.connections_max = narrow(n) },
            Computed { words: "10000, or what the limit of open files leaves room for", text: default_connections },
            "Connections that have a session at once; at the limit a CONNECT is told that the server is busy.",
        ),
        row(
            "connections_pending_max",
            Number { min: 1, max: 10_000_000, set: |d, n| d.config.limits.connections_pending_max = narrow(n) },
            Computed { words: "a quarter of the default of connections_max", text: default_pending },
            "Connections that have no session at once, because their CONNECT was not answered yet or they are being closed; at the limit the \
             oldest is closed for a new one, once it has had a second; where an address has many of them, one of its own, and sooner.",
        )
        .why("A connection that says nothing costs a descriptor, and the store and everybody else need some."),
        row(
            "connect_timeout_s",
            Seconds { min: 1, max: 300, forever: false, set: |d, s| d.config.limits.connect_timeout_s = s },
            Text("10s"),
            "The time until CONNECT must be complete, TLS and WebSocket handshakes included.",
        )
        .why("A mobile network needs a few seconds; a connection that says nothing costs a descriptor."),
        row(
            "keep_alive_max_s",
            Seconds { min: 10, max: 65_535, forever: false, set: |d, s| d.config.limits.keep_alive_max_s = short(u64::from(s)) },
            Text("1h"),
            "The longest keep alive: an extended client that asks for more, or for none, gets this one; a plain client cannot be told and keeps its own.",
        )
        .why("A connection that died in silence is found within one and a half times this."),
        row(
            "subscriptions_max",
            Number { min: 1, max: 10_000_000, set: |d, n| d.config.limits.subscriptions_max = narrow(n) },
            Text("1000"),
            "Subscriptions of one session.",
        )
        .why("Wildcards serve larger needs at a smaller cost."),
        row(
            "publish_messages_per_s_max",
            Number { min: 0, max: 1_000_000_000, set: |d, n| d.config.limits.publish_messages_per_s_max = n },
            Text("0"),
            "Messages that one client may publish in a second; what is more is refused, with the time to wait; 0: no limit.",
        )
        .why("What is too fast depends on the devices; a plain client is disconnected for it at QoS 1 and 2."),
        row(
            "publish_bytes_per_s_max",
            Bytes { min: 0, max: TIB, set: |d, n| d.config.limits.publish_bytes_per_s_max = n },
            Text("0B"),
            "Bytes of topics, payloads and message maps that one client may publish in a second; one message alone is always taken; 0: no limit.",
        )
        .why("As for the messages; a limit on messages alone lets large ones through."),
        row(
            "send_buffer",
            Bytes { min: 4 * KIB, max: 64 * MIB, set: |d, n| d.config.send_buffer = Some(narrow(n)) },
            Unset("what the system gives"),
            "The send buffer of each socket; the system may round it, and Linux is given no more than an eighth of it that the peer has no room for: the rest waits here, and counts.",
        ),
    ],
};

fn default_connections() -> String {
    connections().to_string()
}

fn default_pending() -> String {
    (connections() / 4).max(1).to_string()
}

/// The default of connections_max: a quarter of it has to be possible beside it.
fn connections() -> u64 {
    (machine::connections_possible(machine::cores(), 1) * 4 / 5).clamp(1, 10_000)
}
