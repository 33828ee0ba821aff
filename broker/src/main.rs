use candor_broker::broker::{Broker, ListenerSetup, Setup};
use candor_broker::driver::{Answer, Authenticate};
use candor_broker::shard::settings::AllRights;
use candor_broker::shard::{Admission, ListenerSettings, Peer, Settings};
use candor_broker::transport::bind::BindOptions;
use candor_protocol::packet::{Connect, Durability};
use candor_protocol::session::ServerPolicy;
use std::sync::Arc;

struct Anybody;
impl Authenticate for Anybody {
    fn authenticate(&self, _connect: &Connect, _peer: &Peer) -> Answer {
        Answer::Now(Ok(Admission { principal: "".into(), rights: Arc::new(AllRights) }))
    }
}

fn main() -> std::io::Result<()> {
    let mut args = std::env::args().skip(1);
    let mut listen = vec![];
    let mut threads = 1;
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--listen" => listen.push(args.next().unwrap()),
            "--threads" => threads = args.next().unwrap().parse().unwrap(),
            _ => panic!("{arg}"),
        }
    }
    if listen.is_empty() {
        listen.push("mqtt://127.0.0.1:1883".into());
    }
    if let Ok(level) = std::env::var("LOG") {
        tracing_subscriber::fmt().with_env_filter(level).with_writer(std::io::stderr).init();
    }
    let mut policy = ServerPolicy::default();
    policy.profile.durability = Durability::Memory;
    policy.profile.session_durability = Durability::Memory;
    let policy = Arc::new(policy);
    let listeners = listen
        .into_iter()
        .map(|url| ListenerSetup {
            settings: Arc::new(ListenerSettings { name: url.clone(), policy: policy.clone(), acknowledges_refused: false }),
            url: url.parse().unwrap(),
            tls: None,
            bind: BindOptions::default(),
        })
        .collect();
    let broker =
        Broker::start(Setup { listeners, settings: Settings { shards: threads, ..Settings::default() }, authenticate: Arc::new(Anybody) })?;
    for url in broker.urls() {
        println!("listening {url}");
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut term = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        tokio::select! { _ = term.recv() => {}, _ = tokio::signal::ctrl_c() => {} }
        std::io::Result::Ok(())
    })?;
    broker.stop()
}
