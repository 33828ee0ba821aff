use super::*;
use crate::feedback::Verdict;
use candor_protocol::packet::{Kind, Reason, Refusal};
use candor_protocol::session::SessionState;

const BY: &str = "3.1.1 from ::1";

fn verdict(unix_ms: u64, topic: &str) -> Entry {
    Verdict::new(unix_ms, Kind::Publish, Refusal::bare(Reason::NOT_AUTHORIZED), Some(topic)).into()
}

fn connected(unix_ms: u64) -> Entry {
    Entry::connected(unix_ms, BY.to_owned(), SessionState::New)
}

fn end(unix_ms: u64) -> End {
    End { unix_ms, reason: Reason::SUCCESS, detail: "the client left".to_owned() }
}

fn limits(clients_max: usize, entries_max: usize) -> LedgerLimits {
    LedgerLimits { clients_max, entries_max, ..LedgerLimits::default() }
}

fn page(principal: &str, client_id: &str) -> Page {
    Page::of(&principal.into(), &client_id.into()).unwrap()
}

/// Topic, or the kind of event, and how often.
fn read(ledger: &Ledger, page: &Page) -> Vec<(String, u64)> {
    let text = |entry: &Entry| match &entry.event {
        Event::Verdict(verdict) => verdict.topic.clone().unwrap_or_default(),
        _ => entry.to_json()["event"].as_str().unwrap().to_owned(),
    };
    ledger.read(page).map(|entry| (text(entry), entry.count())).collect()
}

fn expect(told: Vec<(String, u64)>, expected: &[(&str, u64)]) {
    let expected: Vec<_> = expected.iter().map(|(text, count)| ((*text).to_owned(), *count)).collect();
    assert_eq!(told, expected);
}

#[test]
fn the_pages_of_two_principals_are_two_and_nobody_has_none() {
    let mut ledger = Ledger::new(LedgerLimits::default());
    ledger.write(page("somebody", "c"), verdict(1, "a"));
    assert_eq!(ledger.read(&page("other", "c")).count(), 0);
    assert_eq!(ledger.read(&page("somebody", "c")).count(), 1);
    assert_eq!(Page::of(&"".into(), &"c".into()), None);
}

#[test]
fn repetitions_are_counted_and_the_oldest_lines_go_first() {
    let mut ledger = Ledger::new(limits(10, 2));
    let page = page("somebody", "c");
    for (at, topic) in [(1, "a"), (2, "a"), (3, "b"), (4, "c"), (5, "b"), (6, "c")] {
        ledger.write(page.clone(), verdict(at, topic));
    }
    expect(read(&ledger, &page), &[("b", 2), ("c", 2)]);
    assert_eq!(ledger.read(&page).map(|entry| (entry.since_ms, entry.unix_ms())).collect::<Vec<_>>(), [(3, 5), (4, 6)]);
}

#[test]
fn a_client_that_comes_back_again_and_again_takes_few_lines() {
    let mut ledger = Ledger::new(limits(10, 64));
    let page = page("somebody", "c");
    ledger.write(page.clone(), verdict(0, "first"));
    for n in 0..1000 {
        ledger.write(page.clone(), connected(10 * n));
        ledger.write(page.clone(), verdict(10 * n + 1, "a"));
        ledger.end(page.clone(), BY.to_owned(), end(10 * n + 2));
    }
    ledger.write(page.clone(), connected(100_000));
    expect(read(&ledger, &page), &[("first", 1), ("a", 1000), ("disconnected", 1000), ("connected", 1)]);
}

/// What a store holds after the records of the ledger: lines by number, the last one last.
fn keep(store: &mut Vec<(u64, Entry)>, ledger: &mut Ledger) {
    for Unkept { entry, number, replaces, .. } in ledger.take_unkept(1000) {
        store.retain(|(other, _)| !replaces.contains(other));
        store.push((number, entry));
    }
}

#[test]
fn the_store_holds_what_the_ledger_holds_however_often_it_is_told() {
    for every in [1, 2, 3, 7] {
        let (mut ledger, mut store) = (Ledger::kept(limits(10, 64)), Vec::new());
        let page = page("somebody", "c");
        for n in 0..60u64 {
            match n % 5 {
                0 => ledger.write(page.clone(), connected(n)),
                4 => ledger.end(page.clone(), BY.to_owned(), end(n)),
                kind => ledger.write(page.clone(), verdict(n, ["a", "b", "c", "d"][(kind * n) as usize % 4])),
            }
            if n % every == 0 {
                keep(&mut store, &mut ledger);
            }
        }
        keep(&mut store, &mut ledger);
        assert!(!ledger.has_unkept());
        assert_eq!(store.iter().map(|(_, entry)| entry).collect::<Vec<_>>(), ledger.read(&page).collect::<Vec<_>>(), "{every}");
        let mut next = Ledger::kept(LedgerLimits::default());
        next.restore(page.clone(), store.iter().cloned());
        next.write(page.clone(), verdict(99, "a"));
        keep(&mut store, &mut next);
        assert_eq!(store.iter().map(|(_, entry)| entry).collect::<Vec<_>>(), next.read(&page).collect::<Vec<_>>(), "{every}");
    }
}

#[test]
fn a_flood_of_client_identifiers_does_not_make_it_grow_nor_push_others_out() {
    let mut ledger = Ledger::new(limits(100, 4));
    for n in 0..20 {
        ledger.write(page(&format!("user-{n}"), "device"), verdict(n, "a"));
    }
    for n in 0..10_000 {
        ledger.write(page("mallory", &format!("client-{n}")), verdict(n, "a"));
        assert!(ledger.clients() <= 100);
    }
    assert!((0..20).all(|n| ledger.read(&page(&format!("user-{n}"), "device")).count() == 1));
    assert_eq!(ledger.read(&page("mallory", "client-9999")).count(), 1);
    // Where everybody has one, the oldest go.
    for n in 0..500 {
        ledger.write(page(&format!("other-{n}"), "device"), verdict(n, "a"));
    }
    assert!(ledger.clients() <= 100 && ledger.read(&page("other-499", "device")).count() == 1);
}

#[test]
fn its_bytes_are_bounded_and_counted() {
    let bytes_max = 100_000;
    let mut ledger = Ledger::new(LedgerLimits { bytes_max, ..LedgerLimits::default() });
    for n in 0..5000u64 {
        ledger.write(page("somebody", &format!("client-{}", n % 300)), verdict(n, &format!("{n}/{}", "x".repeat(200))));
        assert!(ledger.bytes() <= bytes_max, "{} bytes", ledger.bytes());
    }
    let counted: usize = ledger.pages.values().map(Written::weight).sum();
    assert_eq!(counted, ledger.bytes());
}
