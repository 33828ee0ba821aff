//! Connections: wills, client identifiers, takeover, keep alive.

use super::Stage;
use crate::ensure;
use crate::outcome::Checked;
use crate::peer::Feature;
use std::time::Duration;

pub(super) fn a_will_is_published_when_the_connection_is_lost(stage: &Stage) -> Checked {
    let mut witness = stage.subscriber("witness", &[("will", 1)])?;
    let mut lost = stage.actor("lost")?;
    lost.connect(&stage.options("lost")?.will(stage.message("will", "gone"), 1))?;
    lost.drop_connection()?;
    let seen = witness.expect(&stage.topic("will"), "gone")?;
    ensure!(seen.qos == 1 && !seen.retain, "the will came as {seen:?}");
    Ok(())
}

pub(super) fn a_will_is_not_published_after_disconnect(stage: &Stage) -> Checked {
    let mut witness = stage.subscriber("witness", &[("will", 1)])?;
    let mut polite = stage.actor("polite")?;
    polite.connect(&stage.options("polite")?.will(stage.message("will", "gone"), 1))?;
    polite.disconnect()?;
    let mut publisher = stage.client("pub")?;
    stage.fence(&mut publisher, &mut witness)
}

pub(super) fn a_retained_will_waits_for_new_subscribers(stage: &Stage) -> Checked {
    let mut witness = stage.subscriber("witness", &[("will", 1)])?;
    let mut lost = stage.actor("lost")?;
    lost.connect(&stage.options("lost")?.will(stage.message("will", "gone").retained(), 1))?;
    lost.drop_connection()?;
    witness.expect(&stage.topic("will"), "gone")?;
    let seen = stage.subscriber("late", &[("will", 1)])?.expect(&stage.topic("will"), "gone")?;
    ensure!(seen.retain, "a new subscriber got the will without RETAIN");
    Ok(())
}

pub(super) fn the_same_client_id_takes_the_connection_over(stage: &Stage) -> Checked {
    stage.needs(Feature::SeesClose)?;
    let mut earlier = stage.client("same")?;
    let mut later = stage.subscriber("same", &[("t", 1)])?;
    earlier.closed()?;
    stage.client("pub")?.publish(&stage.message("t", "m"), 1)?;
    later.expect(&stage.topic("t"), "m").map(|_| ())
}

pub(super) fn an_empty_client_id_with_a_clean_session_is_let_in(stage: &Stage) -> Checked {
    let mut options = stage.options("empty")?;
    options.client_id.clear();
    let mut actors = [stage.actor("first")?, stage.actor("second")?];
    for actor in &mut actors {
        actor.connect(&options)?;
        actor.subscribe(&[(stage.topic("t"), 1)])?;
    }
    stage.client("pub")?.publish(&stage.message("t", "m"), 1)?;
    actors.iter_mut().try_for_each(|actor| actor.expect(&stage.topic("t"), "m").map(|_| ()))
}

pub(super) fn a_client_id_of_200_bytes_is_let_in(stage: &Stage) -> Checked {
    let long = |last: &str| format!("{}{last}", stage.id(&"x".repeat(180)));
    let mut options = stage.options("long")?;
    let mut actors = vec![];
    // They differ in the last byte only.
    for last in ["a", "b"] {
        options.client_id = format!("{:x<199}{last}", long(""));
        let mut actor = stage.actor(last)?;
        actor.connect(&options)?;
        actor.subscribe(&[(stage.topic("t"), 1)])?;
        actors.push(actor);
    }
    stage.client("pub")?.publish(&stage.message("t", "m"), 1)?;
    actors.iter_mut().try_for_each(|actor| actor.expect(&stage.topic("t"), "m").map(|_| ()))
}

pub(super) fn an_idle_client_stays_connected_by_its_keep_alive(stage: &Stage) -> Checked {
    let mut idle = stage.actor("idle")?;
    // Two seconds is the least that some clients take; half a period more than allowed without a ping.
    idle.connect(&stage.options("idle")?.keep_alive_s(2))?;
    idle.subscribe(&[(stage.topic("t"), 1)])?;
    idle.stays_connected(Duration::from_millis(5500))?;
    stage.client("pub")?.publish(&stage.message("t", "m"), 1)?;
    idle.expect(&stage.topic("t"), "m").map(|_| ())
}
