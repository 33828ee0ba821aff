//! The same over TLS, WebSocket, and WebSocket over TLS.

use super::Stage;
use crate::ensure;
use crate::outcome::Checked;
use crate::peer::Feature;
use crate::peer::identity::Identity;
use crate::peer::recipe::Transport;

/// Small and large messages both ways by one transport, seen by a client over plain TCP too.
fn carried(stage: &Stage, transport: Transport, feature: Feature) -> Checked {
    stage.needs(feature)?;
    let mut plain = stage.subscriber("plain", &[("t", 1)])?;
    let mut actor = stage.actor("carried")?;
    actor.connect(&stage.options_by(transport, "carried")?)?;
    actor.subscribe(&[(stage.topic("t"), 1)])?;
    let large: Vec<u8> = (0..300_000u32).map(|at| (at % 251) as u8).collect();
    for payload in [b"small".as_slice(), &large] {
        let ticket = actor.start_publish(&stage.message("t", payload), 1)?;
        for subscriber in [&mut plain, &mut actor] {
            let seen = subscriber.message()?;
            ensure!(seen.payload == payload, "{} bytes came as {} others", payload.len(), seen.payload.len());
        }
        actor.published(ticket)?;
    }
    actor.disconnect()
}

pub(super) fn tls_carries_messages_both_ways(stage: &Stage) -> Checked {
    carried(stage, Transport::Tls, Feature::Tls)
}

pub(super) fn websocket_carries_messages_both_ways(stage: &Stage) -> Checked {
    carried(stage, Transport::WebSocket, Feature::WebSocket)
}

pub(super) fn websocket_over_tls_carries_messages_both_ways(stage: &Stage) -> Checked {
    carried(stage, Transport::SecureWebSocket, Feature::SecureWebSocket)
}

pub(super) fn a_server_with_a_certificate_of_a_stranger_is_refused(stage: &Stage) -> Checked {
    stage.needs(Feature::Tls)?;
    let mut options = stage.options_by(Transport::Tls, "wary")?;
    let scratch = crate::peer::scratch::Scratch::new("stranger")?;
    options.authority = Identity::generate()?.write(scratch.path())?.authority;
    let mut actor = stage.actor("wary")?;
    actor.start_connect(&options)?;
    actor.refused().map(|_| ())
}
