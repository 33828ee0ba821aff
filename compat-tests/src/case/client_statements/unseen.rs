//! Which statements there are for clients, and which of them no script can see.

/// The statements of MQTT 3.1.1 whose subject is the client, or both ends.
#[rustfmt::skip]
pub const CLIENT_IDS: &[&str] = &[
    "MQTT-1.5.3-1", "MQTT-1.5.3-2", "MQTT-1.5.3-3", "MQTT-2.2.2-1", "MQTT-2.2.2-2", "MQTT-2.3.1-1", "MQTT-2.3.1-2",
    "MQTT-2.3.1-3", "MQTT-2.3.1-5", "MQTT-2.3.1-6", "MQTT-3.1.0-1", "MQTT-3.1.2-4", "MQTT-3.1.2-6", "MQTT-3.1.2-9",
    "MQTT-3.1.2-11", "MQTT-3.1.2-13", "MQTT-3.1.2-14", "MQTT-3.1.2-15", "MQTT-3.1.2-18", "MQTT-3.1.2-19", "MQTT-3.1.2-20",
    "MQTT-3.1.2-21", "MQTT-3.1.2-22", "MQTT-3.1.2-23", "MQTT-3.1.3-1", "MQTT-3.1.3-2", "MQTT-3.1.3-3", "MQTT-3.1.3-4",
    "MQTT-3.1.3-7", "MQTT-3.1.3-10", "MQTT-3.1.3-11", "MQTT-3.3.1-1", "MQTT-3.3.1-2", "MQTT-3.3.1-4", "MQTT-3.3.2-1",
    "MQTT-3.3.2-2", "MQTT-3.3.4-1", "MQTT-3.6.1-1", "MQTT-3.8.1-1", "MQTT-3.8.3-1", "MQTT-3.8.3-3", "MQTT-3.10.1-1",
    "MQTT-3.10.3-1", "MQTT-3.10.3-2", "MQTT-3.14.4-1", "MQTT-3.14.4-2", "MQTT-4.1.0-1", "MQTT-4.1.0-2", "MQTT-4.3.1-1",
    "MQTT-4.3.2-1", "MQTT-4.3.2-2", "MQTT-4.3.3-1", "MQTT-4.3.3-2", "MQTT-4.4.0-1", "MQTT-4.5.0-2", "MQTT-4.6.0-1",
    "MQTT-4.6.0-2", "MQTT-4.6.0-3", "MQTT-4.6.0-4", "MQTT-4.7.1-1", "MQTT-4.7.1-2", "MQTT-4.7.1-3", "MQTT-4.7.3-1",
    "MQTT-4.7.3-2", "MQTT-4.7.3-3", "MQTT-4.8.0-1", "MQTT-4.8.0-2", "MQTT-6.0.0-1", "MQTT-6.0.0-2", "MQTT-6.0.0-3",
    "MQTT-7.0.0-2", "MQTT-7.1.2-1",
];

/// What cannot be seen from outside, and why.
pub const UNSEEN: &[(&str, &str)] = &[
    (
        "MQTT-4.8.0-2",
        "needs a client in which something goes wrong; for ours a_store_that_fails_ends_the_client_with_its_error_and_nothing_unkept_has_left \
         in client/tests/client/storing.rs brings it about",
    ),
    ("MQTT-7.0.0-2", "holds when every other test does"),
];
