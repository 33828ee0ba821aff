//! Section 4.7: topic names and topic filters; section 6: WebSocket.

use crate::case::Target;
use crate::ensure;
use crate::outcome::Checked;
use crate::peer::Feature;
use crate::peer::recipe::Transport;
use crate::wire::packet::{self, Connect};
use crate::wire::websocket::{self, Framing};

pub(super) fn a_misplaced_hash_closes(on: &Target) -> Checked {
    ["a#", "a/#/b", "#/a", "a/b#"]
        .iter()
        .try_for_each(|filter| on.closes_on(&format!("SUBSCRIBE to {filter}"), &packet::subscribe(1, &[(filter, 0)])))
}

pub(super) fn a_misplaced_plus_closes(on: &Target) -> Checked {
    ["a+", "+a", "a/b+/c", "++"]
        .iter()
        .try_for_each(|filter| on.closes_on(&format!("SUBSCRIBE to {filter}"), &packet::subscribe(1, &[(filter, 0)])))
}

pub(super) fn wildcards_match_as_in_the_examples(on: &Target) -> Checked {
    let cases: [(&str, &[&str], &[&str]); 5] = [
        ("s/t/p/#", &["s/t/p", "s/t/p/r", "s/t/p/r/w"], &["s/t", "s/t/pp"]),
        ("s/+", &["s/", "s/a"], &["s", "s/a/b"]),
        ("s/+/+", &["s//b", "s//"], &["s/a"]),
        ("+", &["plain"], &["/plain", "a/b"]),
        ("s/+/c/#", &["s/b/c", "s//c/d"], &["s/c", "s/b/d"]),
    ];
    for (at, (filter, matching, other)) in cases.iter().enumerate() {
        let level = |topic: &str| on.topic(&format!("w{at}/{topic}"));
        let mut subscriber = on.subscriber(&format!("sub{at}"), &[(&format!("w{at}/{filter}"), 0)])?;
        let mut publisher = on.client("pub")?;
        for topic in matching.iter().chain(*other) {
            publisher.published(level(topic), "m", 0)?;
        }
        for topic in *matching {
            subscriber.received_message(&level(topic), "m").map_err(|stop| stop.within(format!("{filter} and {topic}")))?;
        }
        on.fence(&mut publisher, &mut subscriber).map_err(|stop| stop.within(filter))?;
    }
    Ok(())
}

pub(super) fn a_filter_that_begins_with_a_wildcard_does_not_match_dollar_topics(on: &Target) -> Checked {
    let mut subscriber = on.client("sub")?;
    subscriber.subscribed(&[("#", 0), ("+/#", 0), ("+/watched", 0)])?;
    let mut publisher = on.client("pub")?;
    // A server may close on such a topic, drop it or deliver it, but not to these filters.
    let hidden = format!("$hidden/{}", on.topic("x"));
    publisher.send(packet::publish(&hidden, "hidden", 0, 0))?;
    let mut second = on.client("second")?;
    second.published(on.topic("seen"), "seen", 0)?;
    let seen = on.next_of_ours(&mut subscriber)?;
    ensure!(seen.payload == b"seen", "a wildcard matched {}", seen.topic_text());
    Ok(())
}

pub(super) fn empty_topics_and_filters_close(on: &Target) -> Checked {
    on.closes_on("empty topic", &packet::publish("", "x", 0, 0))?;
    on.closes_on("empty filter in SUBSCRIBE", &packet::subscribe(1, &[("", 0)]))?;
    on.closes_on("empty filter in UNSUBSCRIBE", &packet::unsubscribe(1, &[""]))
}

pub(super) fn a_topic_of_65535_bytes_is_taken(on: &Target) -> Checked {
    // Few levels: servers may bound those.
    let rest = 65_535 - on.topic("").len();
    let topic = on.topic(&"x".repeat(rest));
    let mut subscriber = on.client("sub")?;
    subscriber.subscribed(&[(&topic, 1)])?;
    on.client("pub")?.published(&topic, "m", 1)?;
    subscriber.received_message(&topic, "m").map(|_| ())
}

pub(super) fn topics_are_not_normalised(on: &Target) -> Checked {
    // Composed and decomposed, upper and lower case, trailing slash, space.
    let names = ["\u{E9}", "e\u{301}", "A", "a", "b", "b/", " c", "c", "\u{212B}", "\u{C5}"];
    let mut subscribers = vec![];
    for (at, name) in names.iter().enumerate() {
        subscribers.push(on.subscriber(&format!("sub{at}"), &[(name, 0)])?);
    }
    let mut publisher = on.client("pub")?;
    for name in names {
        publisher.published(on.topic(name), name, 0)?;
    }
    for (name, subscriber) in names.iter().zip(&mut subscribers) {
        subscriber.received_message(&on.topic(name), name)?;
        on.fence(&mut publisher, subscriber)?;
    }
    Ok(())
}

pub(super) fn websocket_takes_packets_in_any_framing(on: &Target) -> Checked {
    on.needs(Feature::WebSocket)?;
    for (name, framing) in [("bytes", Framing::Chunks(1)), ("threes", Framing::Chunks(3)), ("whole", Framing::Whole)] {
        let mut wire = on.open_by(Transport::WebSocket, framing, name)?;
        // With `whole`, three packets share a frame.
        let subscribe = packet::subscribe(1, &[(on.topic(name), 1)]);
        let publish = packet::publish(on.topic(name), "m", 0, 0);
        wire.send(crate::wire::together(&[&Connect::clean(on.id(name)).bytes(), &subscribe, &publish]))?;
        wire.expect(packet::connack(false, 0))?;
        wire.expect(packet::suback(1, &[1]))?;
        wire.received_message(&on.topic(name), "m")?;
    }
    Ok(())
}

pub(super) fn a_websocket_text_frame_closes(on: &Target) -> Checked {
    on.needs(Feature::WebSocket)?;
    let mut wire = on.open_by(Transport::WebSocket, Framing::Raw, "text")?;
    wire.send(websocket::frame(websocket::BINARY, &Connect::clean(on.id("text")).bytes()))?;
    wire.expect(packet::connack(false, 0))?;
    wire.send(websocket::frame(websocket::TEXT, &packet::PINGREQ))?;
    wire.expect_close()
}

pub(super) fn the_server_selects_the_websocket_subprotocol_mqtt(on: &Target) -> Checked {
    on.needs(Feature::WebSocket)?;
    let mut selected = None;
    crate::wire::Wire::connect(on.broker.endpoint(Transport::WebSocket)?, "upgrade")?.wrapped(|mut stream| {
        selected = websocket::upgrade(&mut *stream, crate::case::target::WEBSOCKET_PATH, "mqtt")?.protocol;
        Ok(stream)
    })?;
    ensure!(selected.as_deref() == Some("mqtt"), "the subprotocol selected is {selected:?}");
    Ok(())
}
