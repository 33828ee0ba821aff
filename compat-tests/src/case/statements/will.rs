//! Sections 3.1.2.5 to 3.1.2.7 and 3.14.4: the will.

use crate::case::Target;
use crate::ensure;
use crate::outcome::Checked;
use crate::wire::packet::{self, Connect};

fn willing(on: &Target, name: &str) -> Connect {
    Connect::clean(on.id(name)).will(on.topic("will"), "gone")
}

pub(super) fn a_lost_connection_publishes_the_will(on: &Target) -> Checked {
    let mut witness = on.subscriber("witness", &[("will", 2)])?;
    for (name, flags) in [("q0", 0), ("q1", Connect::WILL_QOS_1), ("q2", Connect::WILL_QOS_2)] {
        let (wire, _) = on.connect(name, &willing(on, name).flags(flags))?;
        wire.reset();
        let seen = witness.received_message(&on.topic("will"), "gone")?;
        ensure!(seen.qos == flags >> 3, "the will of {name} came at QoS {}", seen.qos);
    }
    Ok(())
}

pub(super) fn a_close_without_disconnect_publishes_the_will(on: &Target) -> Checked {
    let mut witness = on.subscriber("witness", &[("will", 0)])?;
    let (wire, _) = on.connect("closing", &willing(on, "closing"))?;
    drop(wire);
    witness.received_message(&on.topic("will"), "gone").map(|_| ())
}

pub(super) fn a_protocol_violation_publishes_the_will(on: &Target) -> Checked {
    let mut witness = on.subscriber("witness", &[("will", 0)])?;
    let (mut wire, _) = on.connect("bad", &willing(on, "bad"))?;
    wire.send(packet::publish("a/+", "x", 0, 0))?;
    wire.expect_close()?;
    witness.received_message(&on.topic("will"), "gone").map(|_| ())
}

pub(super) fn a_will_is_published_once(on: &Target) -> Checked {
    let mut witness = on.subscriber("witness", &[("will", 0)])?;
    on.connect("once", &willing(on, "once"))?.0.reset();
    witness.received_message(&on.topic("will"), "gone")?;
    on.client("once")?.reset();
    let mut publisher = on.client("pub")?;
    on.fence(&mut publisher, &mut witness)
}

pub(super) fn disconnect_discards_the_will(on: &Target) -> Checked {
    let mut witness = on.subscriber("witness", &[("will", 0)])?;
    on.connect("polite", &willing(on, "polite"))?.0.disconnect()?;
    let mut publisher = on.client("pub")?;
    on.fence(&mut publisher, &mut witness)
}

pub(super) fn without_a_will_nothing_is_published(on: &Target) -> Checked {
    let mut witness = on.subscriber("witness", &[("#", 0)])?;
    let mut lost = on.client("lost")?;
    lost.ping()?;
    lost.reset();
    let mut publisher = on.client("pub")?;
    on.fence(&mut publisher, &mut witness)
}

/// The will of a lost connection, as a later subscriber sees it: retained or not at all.
fn will_of_later(on: &Target, flags: u8) -> Checked<crate::wire::Wire> {
    let mut witness = on.subscriber("witness", &[("will", 0)])?;
    on.connect("lost", &willing(on, "lost").flags(flags))?.0.reset();
    let seen = witness.received_message(&on.topic("will"), "gone")?;
    ensure!(!seen.retain, "a subscription that stood got the will with RETAIN");
    on.subscriber("later", &[]).and_then(|mut later| {
        later.subscribed(&[(on.topic("will"), 0)])?;
        Ok(later)
    })
}

pub(super) fn a_will_without_retain_is_not_retained(on: &Target) -> Checked {
    let mut later = will_of_later(on, 0)?;
    let mut publisher = on.client("pub")?;
    on.fence(&mut publisher, &mut later)
}

pub(super) fn a_will_with_retain_is_retained(on: &Target) -> Checked {
    let seen = will_of_later(on, Connect::WILL_RETAIN)?.received_message(&on.topic("will"), "gone")?;
    ensure!(seen.retain, "a new subscription got the will without RETAIN");
    Ok(())
}
