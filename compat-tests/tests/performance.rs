//! `docs/performance.md` is what its figures say, and the command that measures them works.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use candor_compat::peer::scratch::Scratch;
use candor_compat::performance::catalogue::Scale;
use candor_compat::performance::figures::Figures;
use candor_compat::performance::{Request, docs, files, run};

#[test]
fn the_page_is_what_its_figures_say() {
    let text = std::fs::read_to_string(docs().join("performance/figures.json")).unwrap();
    let figures: Figures = serde_json::from_str(&text).unwrap();
    for (name, wanted) in files(&figures).unwrap() {
        let written = std::fs::read_to_string(docs().join(&name)).unwrap_or_default();
        assert!(written == wanted, "docs/{name} is behind: `just performance --render` writes it");
    }
}

/// One load of each kind, a thousandth of it: measured, kept, and written again from what was kept.
#[test]
fn a_quick_run_measures_keeps_and_writes() {
    let out = Scratch::new("performance").unwrap();
    let only = ["qos1", "connections", "dictionary", "durable-q1-1", "shared", "restart", "calm", "slow", "hostile", "flood", "shards"];
    let request = Request {
        scale: Scale::Quick,
        only: only.map(str::to_owned).to_vec(),
        out: out.path().to_owned(),
        profile: "dev".to_owned(),
        render: false,
    };
    let mut said = Vec::new();
    run(&request, &mut |what| said.push(what.to_owned())).unwrap();
    assert!(said.len() > only.len() && said[0].starts_with("1/"), "{said:?}");

    let kept = std::fs::read_to_string(out.path().join("performance/figures.json")).unwrap();
    let figures: Figures = serde_json::from_str(&kept).unwrap();
    for (load, target, row) in figures.loads.iter().flat_map(|(load, rows)| rows.iter().map(move |(target, row)| (load, target, row))) {
        // Peers may not be installed; ours and the floor are there and do what they should.
        if target == "floor" || target.starts_with("candor") {
            assert!(row.faults.is_empty() && !row.runs.is_empty(), "{load}, {target}: {row:?}");
            assert!(row.runs.iter().all(|run| run.delivered > 0 && run.lost == 0), "{load}, {target}: {row:?}");
        }
    }
    let fact = |load: &str, target: &str, name: &str| figures.loads[load][target].runs[0].facts[name];
    assert_eq!(fact("restart", "candor-disk", "sessions_kept_share"), 1.0);
    assert!(fact("hostile", "candor-bounded", "hostile_sent") > 100.0);
    assert_eq!(fact("hostile", "candor-bounded", "hostile_told"), fact("hostile", "candor-bounded", "hostile_sent"));
    assert_eq!(fact("flood", "candor-store", "delivered_beside"), fact("flood", "candor-store", "due_beside"));
    assert!(fact("durable-q1-1", "candor-disk", "ack_p99_us") >= fact("durable-q1-1", "candor-disk", "ack_p50_us"));
    // One payload for all sessions that are owed it, and what says so of each.
    let payloads = fact("shared", "candor-disk", "disk_bytes_a_message") / 4096.0;
    assert!((1.0..1.5).contains(&payloads), "{payloads} payloads on disk of a message that ten sessions are owed");

    let page = std::fs::read_to_string(out.path().join("performance.md")).unwrap();
    assert!(page.contains("mean nothing") && !page.contains("{{"), "{page}");
    assert!(std::fs::read_to_string(out.path().join("performance/connections.svg")).unwrap().contains("<circle"));
    std::fs::write(out.path().join("performance.md"), "stale").unwrap();
    run(&Request { render: true, ..request }, &mut |_| {}).unwrap();
    assert_eq!(std::fs::read_to_string(out.path().join("performance.md")).unwrap(), page);
}
