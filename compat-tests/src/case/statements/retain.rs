//! Section 3.3.1.3: RETAIN.

use crate::case::Target;
use crate::ensure;
use crate::outcome::Checked;
use crate::wire::speak::payloads;
use crate::wire::{Delivery, Wire};

/// A new subscriber, and what it got at once.
fn late(on: &Target, name: &str) -> Checked<(Wire, Delivery)> {
    let mut subscriber = on.subscriber(name, &[])?;
    subscriber.subscribed(&[(on.topic("r"), 2)])?;
    let seen = subscriber.received()?;
    Ok((subscriber, seen))
}

fn nothing_is_retained(on: &Target) -> Checked {
    let mut subscriber = on.subscriber("late", &[])?;
    subscriber.subscribed(&[(on.topic("r"), 2)])?;
    let mut publisher = on.client("fencer")?;
    on.fence(&mut publisher, &mut subscriber)
}

pub(super) fn a_retained_message_is_stored_with_its_qos(on: &Target) -> Checked {
    let mut publisher = on.client("pub")?;
    for qos in [1, 2] {
        publisher.published_retained(on.topic("r"), format!("at {qos}"), qos)?;
        let (_, seen) = late(on, &format!("late{qos}"))?;
        ensure!(seen.qos == qos && seen.payload_text() == format!("at {qos}"), "stored at QoS {qos}, delivered {seen:?}");
    }
    Ok(())
}

pub(super) fn a_new_subscription_gets_the_last_retained_message_of_each_topic(on: &Target) -> Checked {
    let mut publisher = on.client("pub")?;
    for (topic, payload) in [("r/a", "old"), ("r/b", "b"), ("r/a", "a"), ("r/c/d", "d")] {
        publisher.published_retained(on.topic(topic), payload, 1)?;
    }
    let mut subscriber = on.subscriber("late", &[])?;
    subscriber.subscribed(&[(on.topic("r/#"), 1)])?;
    let mut seen: Vec<(String, String)> = subscriber.receive_all(3)?.iter().map(|seen| (seen.topic_text(), seen.payload_text())).collect();
    seen.sort();
    let expected = [("r/a", "a"), ("r/b", "b"), ("r/c/d", "d")].map(|(topic, payload)| (on.topic(topic), payload.to_owned()));
    ensure!(seen == expected, "expected {expected:?}, got {seen:?}");
    on.fence(&mut publisher, &mut subscriber)
}

pub(super) fn a_retained_qos_0_message_drops_the_stored_one(on: &Target) -> Checked {
    let mut publisher = on.client("pub")?;
    publisher.published_retained(on.topic("r"), "old", 1)?;
    publisher.published_retained(on.topic("r"), "new", 0)?;
    let mut subscriber = on.subscriber("late", &[])?;
    subscriber.subscribed(&[(on.topic("r"), 2)])?;
    // The new one is stored or not, as the server likes; the old one is gone.
    let seen = payloads(&on.before_fence(&mut publisher, &mut subscriber)?);
    ensure!(seen.is_empty() || seen == ["new"], "expected the new message or none, got {seen:?}");
    Ok(())
}

pub(super) fn retain_is_1_on_messages_because_of_a_new_subscription(on: &Target) -> Checked {
    on.client("pub")?.published_retained(on.topic("r"), "m", 1)?;
    let (_, seen) = late(on, "late")?;
    ensure!(seen.retain, "RETAIN is 0");
    Ok(())
}

pub(super) fn retain_is_0_on_messages_to_a_subscription_that_stood(on: &Target) -> Checked {
    let mut subscriber = on.subscriber("sub", &[("r", 1)])?;
    let mut publisher = on.client("pub")?;
    for qos in [0, 1] {
        publisher.published_retained(on.topic("r"), "m", qos)?;
        let seen = subscriber.received_message(&on.topic("r"), "m")?;
        ensure!(!seen.retain, "RETAIN is 1 at QoS {qos}");
    }
    Ok(())
}

pub(super) fn an_empty_retained_message_is_delivered_and_removes_the_stored_one(on: &Target) -> Checked {
    let mut publisher = on.client("pub")?;
    publisher.published_retained(on.topic("r"), "m", 1)?;
    let (mut subscriber, _) = late(on, "sub")?;
    publisher.published_retained(on.topic("r"), "", 1)?;
    let seen = subscriber.received_message(&on.topic("r"), "")?;
    ensure!(!seen.retain, "the removal came with RETAIN to a subscription that stood");
    nothing_is_retained(on)
}

pub(super) fn an_empty_message_is_not_stored(on: &Target) -> Checked {
    on.client("pub")?.published_retained(on.topic("r"), "", 1)?;
    nothing_is_retained(on)
}

pub(super) fn without_retain_nothing_stored_changes(on: &Target) -> Checked {
    let mut publisher = on.client("pub")?;
    publisher.published(on.topic("r"), "not kept", 1)?;
    nothing_is_retained(on)?;
    publisher.published_retained(on.topic("r"), "kept", 1)?;
    publisher.published(on.topic("r"), "not kept", 1)?;
    publisher.published(on.topic("r"), "", 1)?;
    let (_, seen) = late(on, "last")?;
    ensure!(seen.payload == b"kept", "expected the stored message, got {seen:?}");
    Ok(())
}
