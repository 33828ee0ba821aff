//! Sections 3.1.2.4, 3.1.3.1 and 4.1: what is stored between two connections.

use crate::case::Target;
use crate::ensure;
use crate::outcome::Checked;
use crate::wire::packet::Connect;

/// A stored session subscribed to `t` at QoS 2 whose client has gone.
fn absent(on: &Target, name: &str) -> Checked {
    let (mut sleeper, _) = on.session(name)?;
    sleeper.subscribed(&[(on.topic("t"), 2)])?;
    sleeper.disconnect()
}

pub(super) fn a_stored_session_carries_on(on: &Target) -> Checked {
    absent(on, "sleeper")?;
    let (mut awake, _) = on.session("sleeper")?;
    on.client("pub")?.published(on.topic("t"), "m", 0)?;
    awake.received_message(&on.topic("t"), "m").map(|_| ())
}

pub(super) fn a_stored_session_gets_the_qos_1_and_2_messages_of_its_absence(on: &Target) -> Checked {
    absent(on, "sleeper")?;
    let mut publisher = on.client("pub")?;
    for (payload, qos) in [("one", 1), ("two", 2), ("three", 1)] {
        publisher.published(on.topic("t"), payload, qos)?;
    }
    let (mut awake, _) = on.session("sleeper")?;
    // In order for each QoS; between the two there is none.
    let mut seen: Vec<(u8, String)> = awake.receive_all(3)?.iter().map(|message| (message.qos, message.payload_text())).collect();
    seen.sort_by_key(|(qos, _)| *qos);
    let expected = [(1, "one".to_owned()), (1, "three".to_owned()), (2, "two".to_owned())];
    ensure!(seen == expected, "expected {expected:?}, got {seen:?}");
    Ok(())
}

pub(super) fn a_stored_session_survives_a_lost_connection(on: &Target) -> Checked {
    let (mut sleeper, _) = on.session("sleeper")?;
    sleeper.subscribed(&[(on.topic("t"), 1)])?;
    sleeper.reset();
    on.client("pub")?.published(on.topic("t"), "m", 1)?;
    let (mut awake, present) = on.session("sleeper")?;
    ensure!(present, "session present is 0 after a lost connection");
    awake.received_message(&on.topic("t"), "m").map(|_| ())
}

pub(super) fn a_clean_session_forgets_the_stored_one(on: &Target) -> Checked {
    absent(on, "sleeper")?;
    let mut publisher = on.client("pub")?;
    publisher.published(on.topic("t"), "queued", 1)?;
    let mut clean = on.client("sleeper")?;
    clean.subscribed(&[(on.fence_topic(), 0)])?;
    publisher.published(on.topic("t"), "live", 1)?;
    on.fence(&mut publisher, &mut clean)?;
    clean.disconnect()?;
    let (_, present) = on.session("sleeper")?;
    ensure!(!present, "a clean session was stored");
    Ok(())
}

pub(super) fn a_clean_session_ends_with_its_connection(on: &Target) -> Checked {
    let mut clean = on.client("a")?;
    clean.subscribed(&[(on.topic("t"), 1)])?;
    clean.reset();
    let mut publisher = on.client("pub")?;
    publisher.published(on.topic("t"), "m", 1)?;
    let (mut stored, present) = on.session("a")?;
    ensure!(!present, "a clean session was stored");
    stored.subscribed(&[(on.fence_topic(), 0)])?;
    on.fence(&mut publisher, &mut stored)
}

pub(super) fn retained_messages_outlive_the_session_they_came_from(on: &Target) -> Checked {
    let mut publisher = on.client("pub")?;
    publisher.published_retained(on.topic("t"), "kept", 1)?;
    publisher.disconnect()?;
    // A clean session of the same client begins and ends.
    on.client("pub")?.disconnect()?;
    on.subscriber("sub", &[])?.disconnect()?;
    let mut subscriber = on.client("sub")?;
    subscriber.subscribed(&[(on.topic("t"), 1)])?;
    subscriber.received_message(&on.topic("t"), "kept").map(|_| ())
}

pub(super) fn the_client_id_names_the_session(on: &Target) -> Checked {
    absent(on, "one")?;
    let mut publisher = on.client("pub")?;
    publisher.published(on.topic("t"), "for one", 1)?;
    // Identifiers are compared byte by byte.
    let (mut other, present) = on.connect("ONE", &Connect::stored(on.id("ONE")))?;
    ensure!(!present, "another client identifier found the session");
    other.subscribed(&[(on.fence_topic(), 0)])?;
    on.fence(&mut publisher, &mut other)?;
    on.session("one")?.0.received_message(&on.topic("t"), "for one").map(|_| ())
}
