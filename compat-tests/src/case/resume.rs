//! A client and a broker whose connection is cut in the middle of an exchange, and who go on after it: no message is
//! lost, none at QoS 2 comes twice.

use super::Stage;
use crate::client::{Actor, Options};
use crate::ensure;
use crate::outcome::Checked;
use crate::peer::Feature;
use crate::proxy::{Fault, Proxy, Side};

const PUBACK: u8 = 4;
const PUBREC: u8 = 5;
const PUBREL: u8 = 6;
const PUBCOMP: u8 = 7;

/// A client with a stored session whose first connection has a fault, and the proxy on its way.
fn behind_a_proxy(stage: &Stage, name: &str, from: Side, kind: u8) -> Checked<(Actor, Proxy)> {
    stage.needs(Feature::Resume)?;
    let proxy = Proxy::start(stage.target.broker.address()?, vec![Fault::CutBefore { from, kind }])?;
    let mut actor = stage.actor(name)?;
    let options = Options { address: proxy.address(), ..stage.options(name)?.stored() };
    actor.connect(&options)?;
    Ok((actor, proxy))
}

/// Publishes into a cut, comes back, and sees the publication complete.
fn publish_into_a_cut(stage: &Stage, qos: u8, from: Side, kind: u8) -> Checked {
    let mut subscriber = stage.subscriber("sub", &[("t", 2)])?;
    let (mut publisher, proxy) = behind_a_proxy(stage, "pub", from, kind)?;
    let ticket = publisher.start_publish(&stage.message("t", "once"), qos)?;
    proxy.ended(0)?;
    publisher.closed()?;
    publisher.start_resume()?;
    publisher.published(ticket)?;
    subscriber.expect(&stage.topic("t"), "once")?;
    let mut fencer = stage.client("fencer")?;
    if qos == 2 {
        return stage.fence(&mut fencer, &mut subscriber);
    }
    // At QoS 1 it may come again.
    fencer.publish(&stage.message("fence", "fence"), 0)?;
    let mut next = subscriber.message()?;
    if next.text() == "once" {
        next = subscriber.message()?;
    }
    ensure!(next.text() == "fence", "expected the message once or twice, then {:?}", next.text());
    Ok(())
}

/// Receives into a cut, comes back, and has received once.
fn receive_into_a_cut(stage: &Stage, qos: u8, from: Side, kind: u8) -> Checked {
    let (mut subscriber, proxy) = behind_a_proxy(stage, "sub", from, kind)?;
    subscriber.subscribe(&[(stage.topic("t"), qos), (stage.topic("fence"), qos)])?;
    let mut publisher = stage.client("pub")?;
    publisher.publish(&stage.message("t", "once"), qos)?;
    proxy.ended(0)?;
    subscriber.closed()?;
    subscriber.start_resume()?;
    publisher.publish(&stage.message("fence", "fence"), qos)?;
    let mut seen = vec![];
    while seen.last().is_none_or(|text| text != "fence") {
        seen.push(subscriber.message()?.text());
    }
    let times = seen.iter().filter(|text| *text == "once").count();
    ensure!(times == 1 || (qos == 1 && times == 2), "the message came {times} times: {seen:?}");
    Ok(())
}

pub(super) fn a_qos_1_publish_cut_before_puback_arrives(stage: &Stage) -> Checked {
    publish_into_a_cut(stage, 1, Side::Server, PUBACK)
}

pub(super) fn a_qos_2_publish_cut_before_pubrec_arrives_once(stage: &Stage) -> Checked {
    publish_into_a_cut(stage, 2, Side::Server, PUBREC)
}

pub(super) fn a_qos_2_publish_cut_before_pubrel_arrives_once(stage: &Stage) -> Checked {
    publish_into_a_cut(stage, 2, Side::Client, PUBREL)
}

pub(super) fn a_qos_2_publish_cut_before_pubcomp_arrives_once(stage: &Stage) -> Checked {
    publish_into_a_cut(stage, 2, Side::Server, PUBCOMP)
}

pub(super) fn a_qos_1_delivery_cut_before_puback_arrives(stage: &Stage) -> Checked {
    receive_into_a_cut(stage, 1, Side::Client, PUBACK)
}

pub(super) fn a_qos_2_delivery_cut_before_pubrec_arrives_once(stage: &Stage) -> Checked {
    receive_into_a_cut(stage, 2, Side::Client, PUBREC)
}

pub(super) fn a_qos_2_delivery_cut_before_pubrel_arrives_once(stage: &Stage) -> Checked {
    receive_into_a_cut(stage, 2, Side::Server, PUBREL)
}

pub(super) fn a_qos_2_delivery_cut_before_pubcomp_arrives_once(stage: &Stage) -> Checked {
    receive_into_a_cut(stage, 2, Side::Client, PUBCOMP)
}
