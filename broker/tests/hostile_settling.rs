//! Subscribers that settle to harm: what they can make the broker do is bounded.

// A helper's panic is the test's: clippy knows it only inside test functions.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use candor_protocol::packet::{Qos, Reason, Refusal};
use candor_protocol::session::Outcome;
use candor_protocol::sim::Way;
use support::everywhere;

/// What is told of a rejection is not told again of the telling: else one message would keep a client that rejects everything busy
/// without end.
#[test]
fn feedback_that_is_rejected_brings_no_feedback() {
    everywhere(|broker, way| {
        if !way.is_extended() {
            return;
        }
        let mut client = broker.connect(way, "rejects everything");
        for filter in ["$feedback/#", "rejected/#"] {
            assert!(!client.subscribe(filter, Qos::AtLeastOnce).is_error());
        }
        client.settles = Some(Outcome::refused(Refusal::bare(Reason::REJECTED)));
        broker.connect(Way::Plain, "publisher").publish("rejected/1", "x", Qos::AtLeastOnce);
        client.until(|client| client.messages.len() >= 2);
        // Each would bring the next within one round trip.
        for _ in 0..3 {
            client.ping(Default::default());
        }
        let topics: Vec<&str> = client.messages.iter().map(|publish| publish.message.topic_str()).collect();
        assert_eq!(topics, ["rejected/1", "$feedback/puback"], "{way:?}");
        client.leave();
    });
}
