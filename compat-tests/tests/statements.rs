use candor_compat::case::Target;
use candor_compat::case::statements::STATEMENTS;
use candor_compat::outcome::Outcome;
use candor_compat::peer::Broker;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
#[test]
fn all() {
    let name = std::env::var("B").unwrap_or("mosquitto".into());
    let broker = Broker::for_case(&name).map_err(|e| format!("{e:?}")).unwrap();
    let next = AtomicUsize::new(0);
    let out = Mutex::new(vec![]);
    std::thread::scope(|s| {
        for _ in 0..8 {
            s.spawn(|| {
                while let Some(st) = STATEMENTS.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let t = std::time::Instant::now();
                    let o: Outcome = (st.run)(&Target::new(broker.clone())).into();
                    out.lock().unwrap().push((st.name, o, t.elapsed().as_millis()));
                }
            });
        }
    });
    let mut n = 0;
    for (name, o, ms) in out.into_inner().unwrap() {
        match o { Outcome::Passed => n += 1, o => println!("{name} {ms}ms: {}", match o {Outcome::Failed(s) => s, Outcome::Unsupported(s) => s, _ => "".into()}) }
    }
    println!("passed {n} of {}", STATEMENTS.len());
}
