//! Which statements there are for servers, and which of them no test on the wire can see.

/// The statements of MQTT 3.1.1 whose subject is the server, or both ends.
#[rustfmt::skip]
pub const SERVER_IDS: &[&str] = &[
    "MQTT-1.5.3-1", "MQTT-1.5.3-2", "MQTT-1.5.3-3", "MQTT-2.2.2-1", "MQTT-2.2.2-2", "MQTT-2.3.1-1", "MQTT-2.3.1-4",
    "MQTT-2.3.1-5", "MQTT-2.3.1-6", "MQTT-2.3.1-7", "MQTT-3.1.0-2", "MQTT-3.1.2-1", "MQTT-3.1.2-2", "MQTT-3.1.2-3",
    "MQTT-3.1.2-4", "MQTT-3.1.2-5", "MQTT-3.1.2-6", "MQTT-3.1.2-7", "MQTT-3.1.2-8", "MQTT-3.1.2-10", "MQTT-3.1.2-12",
    "MQTT-3.1.2-16", "MQTT-3.1.2-17", "MQTT-3.1.2-24", "MQTT-3.1.3-2", "MQTT-3.1.3-5", "MQTT-3.1.3-6", "MQTT-3.1.3-8",
    "MQTT-3.1.3-9", "MQTT-3.1.4-1", "MQTT-3.1.4-2", "MQTT-3.1.4-3", "MQTT-3.1.4-4", "MQTT-3.1.4-5", "MQTT-3.2.0-1",
    "MQTT-3.2.2-1", "MQTT-3.2.2-2", "MQTT-3.2.2-3", "MQTT-3.2.2-4", "MQTT-3.2.2-5", "MQTT-3.2.2-6", "MQTT-3.3.1-1",
    "MQTT-3.3.1-2", "MQTT-3.3.1-3", "MQTT-3.3.1-4", "MQTT-3.3.1-5", "MQTT-3.3.1-6", "MQTT-3.3.1-7", "MQTT-3.3.1-8",
    "MQTT-3.3.1-9", "MQTT-3.3.1-10", "MQTT-3.3.1-11", "MQTT-3.3.1-12", "MQTT-3.3.2-1", "MQTT-3.3.2-2", "MQTT-3.3.2-3",
    "MQTT-3.3.4-1", "MQTT-3.3.5-1", "MQTT-3.3.5-2", "MQTT-3.6.1-1", "MQTT-3.8.1-1", "MQTT-3.8.3-2", "MQTT-3-8.3-4",
    "MQTT-3.8.4-1", "MQTT-3.8.4-2", "MQTT-3.8.4-3", "MQTT-3.8.4-4", "MQTT-3.8.4-5", "MQTT-3.8.4-6", "MQTT-3.9.3-1",
    "MQTT-3.9.3-2", "MQTT-3.10.1-1", "MQTT-3.10.4-1", "MQTT-3.10.4-2", "MQTT-3.10.4-3", "MQTT-3.10.4-4", "MQTT-3.10.4-5",
    "MQTT-3.10.4-6", "MQTT-3.12.4-1", "MQTT-3.14.1-1", "MQTT-3.14.4-3", "MQTT-4.1.0-1", "MQTT-4.1.0-2", "MQTT-4.3.1-1",
    "MQTT-4.3.2-1", "MQTT-4.3.2-2", "MQTT-4.3.3-1", "MQTT-4.3.3-2", "MQTT-4.4.0-1", "MQTT-4.5.0-1", "MQTT-4.6.0-1",
    "MQTT-4.6.0-2", "MQTT-4.6.0-3", "MQTT-4.6.0-4", "MQTT-4.6.0-5", "MQTT-4.6.0-6", "MQTT-4.7.1-1", "MQTT-4.7.1-2",
    "MQTT-4.7.1-3", "MQTT-4.7.2-1", "MQTT-4.7.3-1", "MQTT-4.7.3-2", "MQTT-4.7.3-3", "MQTT-4.7.3-4", "MQTT-4.8.0-1",
    "MQTT-4.8.0-2", "MQTT-6.0.0-1", "MQTT-6.0.0-2", "MQTT-6.0.0-4", "MQTT-7.0.0-1", "MQTT-7.0.0-2", "MQTT-7.1.1-1",
];

/// What cannot be seen from outside, and why.
pub const UNSEEN: &[(&str, &str)] = &[
    ("MQTT-3.8.3-2", "is about servers without wildcards"),
    (
        "MQTT-4.8.0-2",
        "needs a server in which something goes wrong; for ours a_full_disk_is_refused_with_its_reason_told_to_all_and_mended_without_a_restart \
         in broker/tests/disk.rs brings it about",
    ),
    ("MQTT-7.0.0-1", "is about servers that connect out to servers"),
    ("MQTT-7.0.0-2", "holds when every other test does"),
];
