//! What one session, and all together, may take.

use super::{CENTURY_S, Group, KIB, TIB, choice, narrow, row};
use crate::config::kind::Kind::{self, Bytes, Number, Seconds};
use crate::config::option::{
    DefaultValue::{Computed, Text},
    Scope,
};
use crate::config::{machine, size};
use candor_protocol::packet::profile::Overflow;

pub(super) static GROUP: Group = Group {
    heading: "Sessions, queues and memory",
    options: &[
        row(
            "queue_length_max",
            Number { min: 1, max: 100_000_000, set: |d, n| d.config.limits.queue_length_max = narrow(n) },
            Text("1000"),
            "Messages that wait for one session.",
        )
        .why("It is the usual default of brokers, so that nothing changes for who moves here.")
        .scope(Scope::Namespace),
        row(
            "queue_bytes_max",
            Bytes { min: KIB, max: TIB, set: |d, n| d.config.limits.queue_bytes_max = n },
            Text("16MiB"),
            "Bytes that wait for one session; at least packet_size_max.",
        )
        .why("The largest packet fits, and a thousand messages of 16 KiB do.")
        .scope(Scope::Namespace),
        row(
            "overflow",
            Kind::Choice(&[
                choice("drop-oldest", "the oldest message goes, and the subscriber is told of the gap", |d| {
                    d.config.limits.overflow = Overflow::DropOldest;
                }),
                choice("drop-newest", "the new message goes, and the subscriber is told of the gap", |d| {
                    d.config.limits.overflow = Overflow::DropNewest;
                }),
                choice("refuse-publisher", "the publisher is refused", |d| d.config.limits.overflow = Overflow::RefusePublisher),
                choice("hold-back", "the acknowledgement waits for room", |d| d.config.limits.overflow = Overflow::HoldBack),
            ]),
            Text("drop-oldest"),
            "What happens to a message for a session whose queue is full, or as full of its namespace as it may be.",
        )
        .why("A subscriber that was away wants the present first, and one slow subscriber must not stop a publisher.")
        .scope(Scope::Namespace),
        row(
            "redelivery_limit",
            Number { min: 0, max: 1_000_000, set: |d, n| d.config.limits.redelivery_limit = narrow(n) },
            Text("1000"),
            "How often a message that its subscribers give back is handed out again, before it counts as rejected; 0: without end.",
        )
        .why("With the pauses between them it is more than three hours, and a message that nobody can take blocks its queue no longer."),
        row(
            "session_expiry_max_s",
            Seconds { min: 0, max: CENTURY_S, forever: true, set: |d, s| d.config.limits.session_expiry_max_s = s },
            Text("30d"),
            "The longest time that a session outlives its connection.",
        )
        .why("A device that was away for longer has most likely been taken out of service."),
        row(
            "message_expiry_max_s",
            Seconds { min: 1, max: CENTURY_S, forever: true, set: |d, s| d.config.limits.message_expiry_max_s = s },
            Text("7d"),
            "The longest time that a message waits for an absent session.",
        )
        .why("It covers a long weekend and a repair; older messages are seldom still wanted.")
        .scope(Scope::Namespace),
        row(
            "retained_max",
            Number { min: 0, max: 1_000_000_000, set: |d, n| d.config.limits.retained_max = narrow(n) },
            Text("100000"),
            "Retained messages; 0: none are served.",
        )
        .why("It is several topics for each of the default's ten thousand connections."),
        row(
            "retained_bytes_max",
            Bytes { min: 0, max: TIB, set: |d, n| d.config.limits.retained_bytes_max = n },
            Text("64MiB"),
            "Bytes of all retained messages together.",
        )
        .why("It is about 600 bytes for each of the default's hundred thousand messages."),
        row(
            "memory_limit",
            Bytes { min: machine::MEMORY_LIMIT_MIN, max: 1024 * TIB, set: |d, n| d.config.limits.memory_limit = n },
            Computed {
                words: "a quarter of the memory of this machine or control group",
                text: || size::format(machine::quarter_of_memory()),
            },
            "Memory that is taken for clients, together: connections with output, incomplete packets and what waits for its CONNECT to be answered, sessions with their filters, queues and messages in flight, retained messages; the program takes some 10 MiB besides, and the kernel its sockets, some 4 KiB each and what waits in their buffers; at the limit new work is refused, and the refusal names it.",
        ),
    ],
};
