use candor_compat::case::{Target, Stage, CASES};
use candor_compat::outcome::Outcome;
use candor_compat::peer::{Broker, Peers};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
#[test]
fn all() {
    let name = std::env::var("B").unwrap_or("mosquitto".into());
    let client = std::env::var("C").unwrap_or("paho".into());
    let broker = Broker::for_case(&name).map_err(|e| format!("{e:?}")).unwrap();
    let next = AtomicUsize::new(0);
    let out = Mutex::new(vec![]);
    let t0 = std::time::Instant::now();
    std::thread::scope(|s| {
        for _ in 0..std::env::var("T").ok().and_then(|t| t.parse().ok()).unwrap_or(4) {
            s.spawn(|| {
                while let Some(st) = CASES.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let t = std::time::Instant::now();
                    let stage = Stage { target: Target::new(broker.clone()), client: Peers::client(&client).unwrap() };
                    let o: Outcome = (st.run)(&stage).into();
                    out.lock().unwrap().push((st.name, o, t.elapsed().as_millis()));
                }
            });
        }
    });
    let mut n = 0;
    for (name, o, ms) in out.into_inner().unwrap() {
        match o { Outcome::Passed => n += 1, o => println!("{name} {ms}ms: {}", match o {Outcome::Failed(s) => s, Outcome::Unsupported(s) => format!("U {s}"), _ => "".into()}) }
    }
    println!("{client} on {name}: passed {n} of {} in {:?}", CASES.len(), t0.elapsed());
}
