//! Every QoS both ways, retained messages, payloads, topics.

use super::Stage;
use crate::ensure;
use crate::outcome::Checked;

/// Published at one QoS, subscribed at another: delivered once, at the lower of the two.
fn delivered(stage: &Stage, published: u8, subscribed: u8) -> Checked {
    let mut subscriber = stage.subscriber("sub", &[("t", subscribed)])?;
    let mut publisher = stage.client("pub")?;
    for at in 0..3 {
        publisher.publish(&stage.message("t", format!("{at}")), published)?;
        let seen = subscriber.expect(&stage.topic("t"), &format!("{at}"))?;
        ensure!(seen.qos == published.min(subscribed), "published at {published}, subscribed at {subscribed}, delivered at {}", seen.qos);
        ensure!(!seen.retain && seen.dup != Some(true), "RETAIN or DUP on a first live delivery: {seen:?}");
    }
    stage.fence(&mut publisher, &mut subscriber)
}

macro_rules! every_qos {
    ($($name:ident: $published:literal $subscribed:literal,)*) => {
        $(pub(super) fn $name(stage: &Stage) -> Checked { delivered(stage, $published, $subscribed) })*
    };
}
every_qos! {
    qos_0_to_a_subscription_at_0: 0 0,
    qos_0_to_a_subscription_at_1: 0 1,
    qos_0_to_a_subscription_at_2: 0 2,
    qos_1_to_a_subscription_at_0: 1 0,
    qos_1_to_a_subscription_at_1: 1 1,
    qos_1_to_a_subscription_at_2: 1 2,
    qos_2_to_a_subscription_at_0: 2 0,
    qos_2_to_a_subscription_at_1: 2 1,
    qos_2_to_a_subscription_at_2: 2 2,
}

pub(super) fn a_retained_message_reaches_a_new_subscriber_with_retain(stage: &Stage) -> Checked {
    let mut publisher = stage.client("pub")?;
    publisher.publish(&stage.message("r", "kept").retained(), 1)?;
    let mut late = stage.subscriber("late", &[("r", 1)])?;
    let seen = late.expect(&stage.topic("r"), "kept")?;
    ensure!(seen.retain, "a new subscription got the stored message without RETAIN");
    stage.fence(&mut publisher, &mut late)
}

pub(super) fn a_live_retained_message_comes_without_retain(stage: &Stage) -> Checked {
    let mut subscriber = stage.subscriber("sub", &[("r", 1)])?;
    stage.client("pub")?.publish(&stage.message("r", "kept").retained(), 1)?;
    let seen = subscriber.expect(&stage.topic("r"), "kept")?;
    ensure!(!seen.retain, "a subscription that stood got the message with RETAIN");
    Ok(())
}

pub(super) fn a_retained_message_is_replaced_by_the_next(stage: &Stage) -> Checked {
    let mut publisher = stage.client("pub")?;
    for payload in ["first", "second"] {
        publisher.publish(&stage.message("r", payload).retained(), 1)?;
    }
    let mut late = stage.subscriber("late", &[("r", 1)])?;
    late.expect(&stage.topic("r"), "second")?;
    stage.fence(&mut publisher, &mut late)
}

pub(super) fn an_empty_retained_message_clears_the_topic(stage: &Stage) -> Checked {
    let mut publisher = stage.client("pub")?;
    publisher.publish(&stage.message("r", "kept").retained(), 1)?;
    publisher.publish(&stage.message("r", "").retained(), 1)?;
    let mut late = stage.subscriber("late", &[("r", 1)])?;
    stage.fence(&mut publisher, &mut late)
}

pub(super) fn retained_messages_come_for_every_match_of_a_wildcard(stage: &Stage) -> Checked {
    let mut publisher = stage.client("pub")?;
    for name in ["r/a", "r/b", "r/c/d"] {
        publisher.publish(&stage.message(name, name).retained(), 1)?;
    }
    let mut late = stage.subscriber("late", &[("r/#", 1)])?;
    let mut seen = (0..3).map(|_| late.message().map(|message| message.text())).collect::<Checked<Vec<_>>>()?;
    seen.sort();
    ensure!(seen == ["r/a", "r/b", "r/c/d"], "got {seen:?}");
    stage.fence(&mut publisher, &mut late)
}

/// A payload goes through byte for byte.
fn intact(stage: &Stage, payload: &[u8], qos: u8) -> Checked {
    let mut subscriber = stage.subscriber("sub", &[("t", qos)])?;
    let mut publisher = stage.client("pub")?;
    let ticket = publisher.start_publish(&stage.message("t", payload), qos)?;
    let seen = subscriber.message()?;
    ensure!(seen.payload == payload, "a payload of {} bytes came as another of {} bytes", payload.len(), seen.payload.len());
    publisher.published(ticket)
}

pub(super) fn a_payload_of_a_mebibyte_is_intact(stage: &Stage) -> Checked {
    // Neither repeated nor random: a misplaced block cannot go unseen.
    let payload: Vec<u8> = (0u32..1 << 18).flat_map(|at| at.wrapping_mul(0x9E37_79B9).to_be_bytes()).collect();
    intact(stage, &payload, 1)
}

pub(super) fn a_payload_of_every_byte_is_intact(stage: &Stage) -> Checked {
    intact(stage, &(0..=255).collect::<Vec<u8>>(), 2)
}

pub(super) fn an_empty_payload_is_delivered(stage: &Stage) -> Checked {
    intact(stage, b"", 1)
}

pub(super) fn topics_of_other_scripts_are_intact(stage: &Stage) -> Checked {
    let names = ["温度/厨房", "τοποθεσία", "Ünïcödé/Straße", "😀/\u{1F1EA}\u{1F1FA}", "مطبخ", " with spaces "];
    for (at, name) in names.iter().enumerate() {
        let mut subscriber = stage.subscriber(&format!("sub{at}"), &[(name, 1)])?;
        stage.client(&format!("pub{at}"))?.publish(&stage.message(name, name), 1)?;
        subscriber.expect(&stage.topic(name), name)?;
    }
    Ok(())
}

/// Which of the topics reach the filter, in order.
fn matched(stage: &Stage, filter: &str, topics: &[(&str, bool)]) -> Checked {
    let mut subscriber = stage.subscriber("sub", &[(filter, 1)])?;
    let mut publisher = stage.client("pub")?;
    for (topic, _) in topics {
        publisher.publish(&stage.message(topic, topic), 1)?;
    }
    for (topic, _) in topics.iter().filter(|(_, matches)| *matches) {
        subscriber.expect(&stage.topic(topic), topic)?;
    }
    stage.fence(&mut publisher, &mut subscriber)
}

pub(super) fn plus_matches_one_level(stage: &Stage) -> Checked {
    matched(stage, "s/+/t", &[("s/a/t", true), ("s//t", true), ("s/t", false), ("s/a/b/t", false), ("s/a/tt", false)])
}

pub(super) fn hash_matches_the_level_itself_and_all_below(stage: &Stage) -> Checked {
    matched(stage, "s/#", &[("s", true), ("s/a", true), ("s/a/b/c", true), ("s/", true), ("ss", false), ("x/s", false)])
}

pub(super) fn empty_levels_are_levels(stage: &Stage) -> Checked {
    matched(stage, "e//+", &[("e//x", true), ("e/x", false), ("e///x", false), ("e//", true)])
}

pub(super) fn wildcards_at_the_front_do_not_match_dollar_topics(stage: &Stage) -> Checked {
    let mut subscriber = stage.client("sub")?;
    subscriber.subscribe(&[("+/+/watched", 0)])?;
    let hidden = crate::client::Outgoing::new(format!("$hidden/{}/watched", stage.id("x")), "hidden");
    // A server may refuse such a topic, and end the connection for it.
    let mut hiding = stage.client("hiding")?;
    let refused = hiding.start_publish(&hidden, 0).is_err();
    drop(hiding);
    let mut publisher = stage.client("pub")?;
    publisher.publish(&stage.message("x/watched", "seen"), 0)?;
    let seen = subscriber.message()?;
    ensure!(seen.payload == b"seen", "a filter that begins with + matched {} (refused: {refused})", seen.topic);
    Ok(())
}
