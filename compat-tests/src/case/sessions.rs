//! Stored sessions: what is kept between two connections, and over a restart of the broker.

use super::Stage;
use crate::client::Actor;
use crate::ensure;
use crate::outcome::Checked;
use crate::peer::Feature;

/// Makes a stored session that is subscribed to `q` at `qos`, and leaves it.
fn absent(stage: &Stage, qos: u8) -> Checked {
    let (mut sleeper, _) = stage.session("sleeper")?;
    sleeper.subscribe(&[(stage.topic("q"), qos)])?;
    sleeper.disconnect()
}

/// The queue of an absent session, filled and then drained, in order.
fn queued(stage: &Stage, qos: u8, count: usize) -> Checked {
    absent(stage, qos)?;
    let mut publisher = stage.client("pub")?;
    for at in 0..count {
        publisher.publish(&stage.message("q", format!("{at}")), qos)?;
    }
    let (mut awake, present) = stage.session("sleeper")?;
    ensure!(present != Some(false), "session present is 0");
    drained(stage, &mut awake, count)
}

fn drained(stage: &Stage, awake: &mut Actor, count: usize) -> Checked {
    (0..count).try_for_each(|at| awake.expect(&stage.topic("q"), &format!("{at}")).map(|_| ()))
}

pub(super) fn an_offline_queue_at_qos_1_arrives_in_order(stage: &Stage) -> Checked {
    queued(stage, 1, 50)
}

pub(super) fn an_offline_queue_at_qos_2_arrives_in_order(stage: &Stage) -> Checked {
    queued(stage, 2, 50)
}

pub(super) fn a_resumed_session_is_present_and_a_new_one_is_not(stage: &Stage) -> Checked {
    stage.needs(Feature::SessionPresent)?;
    let (mut first, present) = stage.session("s")?;
    ensure!(present == Some(false), "session present is {present:?} for a new session");
    first.subscribe(&[(stage.topic("q"), 1)])?;
    first.disconnect()?;
    let (mut second, present) = stage.session("s")?;
    ensure!(present == Some(true), "session present is {present:?} for a stored session");
    second.disconnect()?;
    let mut clean = stage.actor("s")?;
    let present = clean.connect(&stage.options("s")?)?;
    ensure!(present == Some(false), "session present is {present:?} for a clean session");
    Ok(())
}

pub(super) fn subscriptions_of_a_stored_session_go_on(stage: &Stage) -> Checked {
    absent(stage, 1)?;
    let (mut awake, _) = stage.session("sleeper")?;
    stage.client("pub")?.publish(&stage.message("q", "live"), 1)?;
    awake.expect(&stage.topic("q"), "live").map(|_| ())
}

pub(super) fn a_clean_session_forgets_the_stored_one(stage: &Stage) -> Checked {
    absent(stage, 1)?;
    let mut publisher = stage.client("pub")?;
    publisher.publish(&stage.message("q", "queued"), 1)?;
    let mut clean = stage.subscriber("sleeper", &[])?;
    publisher.publish(&stage.message("q", "live"), 1)?;
    stage.fence(&mut publisher, &mut clean)
}

pub(super) fn a_restart_keeps_sessions_queues_and_retained_messages(stage: &Stage) -> Checked {
    stage.needs(Feature::SurvivesRestart)?;
    stage.target.alone(|target| kept_over(&stage.on(target), |stage| stage.target.broker.stop()))
}

pub(super) fn a_crash_keeps_what_was_acknowledged(stage: &Stage) -> Checked {
    stage.needs(Feature::SurvivesCrash)?;
    stage.target.alone(|target| {
        kept_over(&stage.on(target), |stage| {
            stage.target.broker.kill();
            Ok(())
        })
    })
}

fn kept_over(stage: &Stage, end: impl Fn(&Stage) -> Checked) -> Checked {
    absent(stage, 2)?;
    let mut publisher = stage.client("pub")?;
    publisher.publish(&stage.message("r", "kept").retained(), 1)?;
    for at in 0..10 {
        publisher.publish(&stage.message("q", format!("{at}")), 1 + at % 2)?;
    }
    drop(publisher);
    end(stage)?;
    stage.target.broker.restart()?;
    let (mut awake, present) = stage.session("sleeper")?;
    ensure!(present != Some(false), "session present is 0 after the restart");
    // In order for each QoS; between the two there is none [MQTT-4.6.0-6].
    let mut seen = [vec![], vec![]];
    for _ in 0..10 {
        let message = awake.message()?;
        seen[usize::from(message.qos == 2)].push(message.text());
    }
    ensure!(seen[0] == ["0", "2", "4", "6", "8"] && seen[1] == ["1", "3", "5", "7", "9"], "by QoS, what came is {seen:?}");
    let seen = stage.subscriber("late", &[("r", 1)])?.expect(&stage.topic("r"), "kept")?;
    ensure!(seen.retain, "a retained message came back without RETAIN");
    Ok(())
}
