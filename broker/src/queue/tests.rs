use super::*;
use candor_protocol::codec::dictionary::Dictionary;
use candor_protocol::packet::Message;

fn waiting(payload: &str, expires_at_ms: Option<u64>) -> Waiting {
    let message = Message::publish("t", payload).unwrap();
    let envelope = Envelope { message, qos: Qos::AtLeastOnce, retain: false, expires_at_ms, stamps: None, hop: Dictionary::EMPTY };
    Waiting { envelope, qos: Qos::AtLeastOnce, retain: false, redelivery_count: 0, message: None, space: None, has_place: false }
}

fn drain(queue: &mut Queue, unix_ms: u64) -> Vec<String> {
    let message = |popped| match popped {
        Popped::Message(waiting) => String::from_utf8_lossy(waiting.envelope.message.payload()).into_owned(),
        Popped::Stored => "stored".to_owned(),
    };
    std::iter::from_fn(|| queue.pop(unix_ms)).map(message).collect()
}

fn queue(overflow: Overflow) -> Queue {
    Queue::new(QueueLimits { len_max: 3, bytes_max: 100, overflow })
}

#[test]
fn at_the_limit_the_declared_message_is_dropped_and_counted() {
    for (overflow, expected, last) in
        [(Overflow::DropOldest, ["3", "4", "5"], Pushed::DroppedOldest), (Overflow::DropNewest, ["1", "2", "3"], Pushed::DroppedNewest)]
    {
        let mut queue = queue(overflow);
        let pushed: Vec<_> = ["1", "2", "3", "4", "5"]
            .into_iter()
            .map(|payload| queue.push(waiting(payload, None), &QueueExtensions::default(), &Namespaces::default()))
            .collect();
        assert_eq!(pushed[2..], [Pushed::Kept, last, last]);
        assert_eq!(*queue.gap, Gap { overflow: 2, ..Gap::default() });
        assert_eq!(drain(&mut queue, 0), expected);
        assert_eq!(queue.bytes(), 0);
    }
}

#[test]
fn bytes_are_a_limit_of_their_own() {
    let mut queue = queue(Overflow::DropOldest);
    assert_eq!(queue.push(waiting(&"x".repeat(60), None), &QueueExtensions::default(), &Namespaces::default()), Pushed::Kept);
    assert_eq!(queue.push(waiting(&"y".repeat(60), None), &QueueExtensions::default(), &Namespaces::default()), Pushed::DroppedOldest);
    assert_eq!(queue.push(waiting(&"z".repeat(200), None), &QueueExtensions::default(), &Namespaces::default()), Pushed::DroppedNewest);
    assert_eq!((queue.len(), queue.gap.overflow), (1, 2));
}

#[test]
fn what_has_expired_is_not_handed_out_and_is_counted() {
    let mut queue = queue(Overflow::DropOldest);
    queue.push(waiting("old", Some(1000)), &QueueExtensions::default(), &Namespaces::default());
    queue.push(waiting("new", Some(3000)), &QueueExtensions::default(), &Namespaces::default());
    assert_eq!(drain(&mut queue, 2000), ["new"]);
    assert_eq!(*queue.gap, Gap { expired: 1, ..Gap::default() });
}

#[test]
fn what_was_given_back_comes_first_and_in_the_order_that_it_was_given_back_in() {
    let none = QueueExtensions::default();
    let mut queue = queue(Overflow::DropOldest);
    queue.push(waiting("new", None), &none, &Namespaces::default());
    for payload in ["1", "2"] {
        queue.put_back(Waiting { redelivery_count: 1, ..waiting(payload, None) });
    }
    assert_eq!(drain(&mut queue, 0), ["1", "2", "new"]);
}

#[test]
fn what_was_put_off_lets_others_pass_until_its_time_and_counts_for_the_limits() {
    let none = QueueExtensions::default();
    let mut queue = queue(Overflow::DropNewest);
    for (payload, until_ms) in [("late", 200), ("soon", 100)] {
        queue.set_aside(Waiting { redelivery_count: 1, ..waiting(payload, None) }, until_ms);
    }
    assert!(queue.is_empty() && queue.len() == 2 && queue.bytes() > 0);
    assert_eq!(queue.push(waiting("new", None), &none, &Namespaces::default()), Pushed::Kept);
    assert_eq!(queue.push(waiting("more", None), &none, &Namespaces::default()), Pushed::DroppedNewest);
    queue.take_up(100);
    assert_eq!(drain(&mut queue, 0), ["soon", "new"]);
    queue.take_up(99);
    assert_eq!(drain(&mut queue, 0), [""; 0]);
    queue.take_up(200);
    assert_eq!((drain(&mut queue, 0), queue.bytes(), queue.near_bytes()), (vec!["late".to_owned()], 0, 0));
}

#[test]
fn a_full_queue_of_what_was_put_off_drops_its_oldest() {
    let mut queue = queue(Overflow::DropOldest);
    (1..=3).for_each(|n| queue.set_aside(Waiting { redelivery_count: 1, ..waiting(&n.to_string(), None) }, n));
    assert_eq!(queue.push(waiting("new", None), &QueueExtensions::default(), &Namespaces::default()), Pushed::DroppedOldest);
    queue.take_up(10);
    assert_eq!(drain(&mut queue, 0), ["2", "3", "new"]);
    assert_eq!((queue.gap.overflow, queue.bytes()), (1, 0));
}

#[test]
fn a_rank_goes_before_age() {
    let (_, extensions) = crate::experiment::switched_on(&["x-priority".to_owned()]).unwrap();
    let mut queue = queue(Overflow::DropOldest);
    for (payload, priority) in [("1a", 1), ("3", 3), ("1b", 1)] {
        let mut waiting = waiting(payload, None);
        waiting.envelope.hop = candor_protocol::extension::priority::with_priority(&Dictionary::EMPTY, priority);
        queue.push(waiting, &extensions, &Namespaces::default());
    }
    assert_eq!(drain(&mut queue, 0), ["3", "1a", "1b"]);
}

#[test]
fn what_the_store_has_waits_there_and_comes_back_in_its_place() {
    let none = QueueExtensions::default();
    let mut queue = Queue::new(QueueLimits { len_max: 10, bytes_max: 1000, overflow: Overflow::DropOldest });
    for n in 1..=5 {
        // The third is not kept: it cannot be left to the store.
        let message = (n != 3).then_some(MessageNumber(n));
        queue.push(Waiting { message, ..waiting(&n.to_string(), (n == 4).then_some(1000)) }, &none, &Namespaces::default());
    }
    let bytes = queue.bytes();
    queue.unload(1, &none);
    assert_eq!((queue.len(), queue.bytes(), queue.stored(10)), (5, bytes, vec![MessageNumber(4), MessageNumber(5)]));
    let near_bytes = bytes - 2 * (bytes / 5) + 3 * entry::HERE_BYTES + 2 * size_of::<Entry>();
    assert_eq!((queue.bodies(), queue.near_bytes()), (3, near_bytes));
    assert!(matches!(queue.pop(0), Some(Popped::Message(waiting)) if waiting.message == Some(MessageNumber(1))));
    for n in [2, 3] {
        assert!(matches!(queue.pop(0), Some(Popped::Message(_))), "{n}");
    }
    // It expires there as it would here, and what is behind it is asked for.
    assert!(matches!(queue.pop(2000), Some(Popped::Stored)));
    assert_eq!((queue.gap.expired, queue.take_dropped()), (1, vec![(MessageNumber(4), Reason::MESSAGE_EXPIRED)]));
    assert!(queue.load(MessageNumber(5), Some(waiting("5", None).envelope)) && !queue.load(MessageNumber(4), None));
    assert_eq!((drain(&mut queue, 0), queue.bytes(), queue.near_bytes()), (vec!["5".to_owned()], 0, 0));
}

#[test]
fn a_message_that_was_never_taken_leaves_no_trace() {
    let none = QueueExtensions::default();
    let mut queue = queue(Overflow::DropOldest);
    queue.push(Waiting { message: Some(MessageNumber(1)), ..waiting("x", None) }, &none, &Namespaces::default());
    queue.unload(0, &none);
    assert!(queue.load(MessageNumber(1), None));
    assert_eq!((queue.len(), queue.bytes(), queue.gap.is_empty()), (0, 0, true));
}

#[test]
fn where_publishers_learn_of_a_full_queue_what_has_its_place_is_not_dropped() {
    let none = QueueExtensions::default();
    for overflow in [Overflow::RefusePublisher, Overflow::HoldBack] {
        let mut queue = queue(overflow);
        let mut push = |has_place| queue.push(Waiting { has_place, ..waiting("x", None) }, &none, &Namespaces::default());
        assert_eq!([false, true, false].map(&mut push), [Pushed::Kept; 3]);
        // Nobody has asked for a place: a will, what is retained, QoS 0.
        assert_eq!([false, true, false].map(push), [Pushed::DroppedNewest, Pushed::Kept, Pushed::DroppedNewest]);
        assert_eq!((queue.len(), queue.gap.overflow), (4, 2));
    }
}

#[test]
fn a_namespace_has_its_own_limits_and_policy_and_leaves_the_rest_alone() {
    let none = QueueExtensions::default();
    for (overflow, expected) in [(Overflow::DropOldest, ["a", "2", "3", "b", "c"]), (Overflow::DropNewest, ["1", "a", "2", "b", "c"])] {
        let limits = QueueLimits { len_max: 2, bytes_max: 1000, overflow };
        let filter = candor_protocol::packet::TopicFilter::new("t").unwrap();
        let namespaces = Namespaces::new(vec![Namespace { filter, queue: limits, message_expiry_max_s: u32::MAX }]);
        // The queue's own policy is another one.
        let mut queue = Queue::new(QueueLimits { len_max: 5, bytes_max: 1000, overflow: Overflow::DropNewest });
        let space = namespaces.of("t").unwrap();
        for payload in ["1", "a", "2", "3", "b", "c"] {
            let space = payload.parse::<u8>().is_ok().then_some(space);
            queue.push(Waiting { space, ..waiting(payload, None) }, &none, &namespaces);
        }
        assert_eq!((queue.len(), queue.share(space).len, queue.gap.overflow), (5, 2, 1));
        queue.push(waiting("d", None), &none, &namespaces);
        assert_eq!(queue.gap.overflow, 2, "the rest has the limit of the queue");
        // What is put off and put back counts; what is taken out does not.
        let Some(Popped::Message(first)) = queue.pop(0) else { panic!() };
        let len = queue.share(space).len;
        queue.push_front(first);
        assert_eq!((queue.share(space).len, queue.len()), (len + usize::from(overflow == Overflow::DropNewest), 5));
        queue.set_aside(Waiting { space: Some(space), ..waiting("aside", None) }, 10);
        assert_eq!(queue.share(space).len, 3);
        assert_eq!(drain(&mut queue, 0), expected);
        assert_eq!(queue.share(space), Share { len: 1, bytes: queue.bytes() });
    }
}

#[test]
fn bytes_of_a_namespace_are_a_limit_of_their_own() {
    let limits = QueueLimits { len_max: usize::MAX, bytes_max: 100, overflow: Overflow::DropOldest };
    let filter = candor_protocol::packet::TopicFilter::new("t").unwrap();
    let namespaces = Namespaces::new(vec![Namespace { filter, queue: limits, message_expiry_max_s: u32::MAX }]);
    let mut queue = Queue::new(QueueLimits { len_max: 10, bytes_max: 1000, overflow: Overflow::DropNewest });
    let mut push = |len: usize| {
        let waiting = Waiting { space: namespaces.of("t"), ..waiting(&"x".repeat(len), None) };
        queue.push(waiting, &QueueExtensions::default(), &namespaces)
    };
    assert_eq!([60, 60, 200, 10].map(&mut push), [Pushed::Kept, Pushed::DroppedOldest, Pushed::DroppedNewest, Pushed::Kept]);
    assert_eq!((queue.len(), queue.gap.overflow), (2, 2));
}
