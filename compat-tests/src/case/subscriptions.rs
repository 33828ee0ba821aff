//! Subscriptions: overlapping, many at once, ended, shared.

use super::Stage;
use crate::ensure;
use crate::outcome::Checked;
use crate::peer::Feature;

pub(super) fn overlapping_subscriptions_deliver_by_the_highest_qos(stage: &Stage) -> Checked {
    let mut subscriber = stage.client("sub")?;
    subscriber.subscribe(&[(stage.topic("o/#"), 0), (stage.topic("o/a"), 2), (stage.topic("fence"), 0)])?;
    let mut publisher = stage.client("pub")?;
    publisher.publish(&stage.message("o/a", "m"), 2)?;
    // One copy or two, as the server likes.
    let mut highest = subscriber.expect(&stage.topic("o/a"), "m")?.qos;
    publisher.publish(&stage.message("fence", "fence"), 0)?;
    loop {
        let seen = subscriber.message()?;
        if seen.payload == b"fence" {
            break;
        }
        highest = highest.max(seen.qos);
    }
    // A copy at QoS 2 may be overtaken by the fence at QoS 0.
    if highest < 2 {
        highest = subscriber.expect(&stage.topic("o/a"), "m")?.qos;
    }
    ensure!(highest == 2, "granted 0 and 2, the message came at QoS {highest}");
    Ok(())
}

pub(super) fn many_filters_in_one_subscribe_all_count(stage: &Stage) -> Checked {
    let names: Vec<String> = (0..40).map(|at| format!("m/{at}")).collect();
    let filters: Vec<(&str, u8)> = names.iter().map(|name| (name.as_str(), 1)).collect();
    let mut subscriber = stage.subscriber("sub", &filters)?;
    let mut publisher = stage.client("pub")?;
    for name in names.iter().step_by(7) {
        publisher.publish(&stage.message(name, name), 1)?;
        subscriber.expect(&stage.topic(name), name)?;
    }
    stage.fence(&mut publisher, &mut subscriber)
}

pub(super) fn filters_in_one_subscribe_get_their_own_qos(stage: &Stage) -> Checked {
    let mut subscriber = stage.client("sub")?;
    subscriber.subscribe(&[(stage.topic("q/0"), 0), (stage.topic("q/1"), 1), (stage.topic("q/2"), 2)])?;
    let mut publisher = stage.client("pub")?;
    for qos in 0..=2 {
        publisher.publish(&stage.message(&format!("q/{qos}"), "m"), 2)?;
        let seen = subscriber.expect(&stage.topic(&format!("q/{qos}")), "m")?;
        ensure!(seen.qos == qos, "subscribed at {qos}, delivered at {}", seen.qos);
    }
    Ok(())
}

pub(super) fn after_unsubscribe_nothing_comes(stage: &Stage) -> Checked {
    let mut subscriber = stage.subscriber("sub", &[("a", 1), ("b", 1)])?;
    subscriber.unsubscribe(&[stage.topic("a")])?;
    let mut publisher = stage.client("pub")?;
    publisher.publish(&stage.message("a", "a"), 1)?;
    publisher.publish(&stage.message("b", "b"), 1)?;
    subscriber.expect(&stage.topic("b"), "b")?;
    stage.fence(&mut publisher, &mut subscriber)
}

pub(super) fn many_filters_end_with_one_unsubscribe(stage: &Stage) -> Checked {
    let mut subscriber = stage.subscriber("sub", &[("a", 1), ("b", 1), ("c", 1)])?;
    subscriber.unsubscribe(&[stage.topic("a"), stage.topic("c")])?;
    let mut publisher = stage.client("pub")?;
    for name in ["a", "b", "c"] {
        publisher.publish(&stage.message(name, name), 1)?;
    }
    subscriber.expect(&stage.topic("b"), "b")?;
    stage.fence(&mut publisher, &mut subscriber)
}

pub(super) fn unsubscribing_what_never_was_is_acknowledged(stage: &Stage) -> Checked {
    stage.client("sub")?.unsubscribe(&[stage.topic("never")])
}

pub(super) fn subscribing_again_replaces_the_subscription(stage: &Stage) -> Checked {
    let mut subscriber = stage.subscriber("sub", &[("t", 2)])?;
    subscriber.subscribe(&[(stage.topic("t"), 0)])?;
    let mut publisher = stage.client("pub")?;
    publisher.publish(&stage.message("t", "m"), 2)?;
    let seen = subscriber.expect(&stage.topic("t"), "m")?;
    ensure!(seen.qos == 0, "the new maximum is QoS 0, the message came at {}", seen.qos);
    Ok(())
}

pub(super) fn a_shared_subscription_gives_each_message_to_one_member(stage: &Stage) -> Checked {
    stage.needs(Feature::SharedSubscriptions)?;
    let shared = format!("$share/group/{}", stage.topic("s/#"));
    let mut members = vec![];
    for at in 0..2 {
        let mut member = stage.client(&format!("member{at}"))?;
        member.subscribe(&[(&shared, 1), (&stage.topic("end"), 1)])?;
        members.push(member);
    }
    let mut witness = stage.subscriber("witness", &[("s/#", 1)])?;
    let mut publisher = stage.client("pub")?;
    for at in 0..20 {
        publisher.publish(&stage.message("s/t", format!("{at:02}")), 1)?;
        witness.expect(&stage.topic("s/t"), &format!("{at:02}"))?;
    }
    publisher.publish(&stage.message("end", "end"), 1)?;
    let mut seen = vec![];
    for member in &mut members {
        loop {
            match member.message()?.text() {
                end if end == "end" => break,
                payload => seen.push(payload),
            }
        }
    }
    seen.sort();
    let expected: Vec<String> = (0..20).map(|at| format!("{at:02}")).collect();
    ensure!(seen == expected, "the members together got {seen:?}");
    Ok(())
}
