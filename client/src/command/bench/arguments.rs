//! The flags of `candor bench`.

use super::values;
use crate::command::flags;
use clap::{Arg, ArgAction, Command, value_parser};
use std::net::SocketAddr;
use std::path::PathBuf;

fn arg(name: &'static str, value: &'static str) -> Arg {
    Arg::new(name).long(name).value_name(value)
}

fn number(name: &'static str, default: &'static str, help: &'static str) -> Arg {
    arg(name, "COUNT").value_parser(value_parser!(u32).range(1..=10_000_000)).default_value(default).help(help)
}

fn switch(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).action(ArgAction::SetTrue).help(help)
}

pub(in crate::command) fn command() -> Command {
    let flow = |name: &'static str, about: &'static str| load(Command::new(name).about(about)).args(flow_flags());
    let fixed = |name: &'static str, about: &'static str| load(Command::new(name).about(about));
    let connections = |default: &'static str, help: &'static str| number("connections", default, help).short('n');
    // What waits for a session that is not there is kept above QoS 0.
    let kept = |qos: Arg| qos.value_parser(value_parser!(u8).range(1..=2)).default_value("1").help("1 or 2");
    Command::new("bench")
        .about("Measure what a server costs: CPU, memory, latency, and whether it loses anything")
        .after_help(EXPLANATION)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(targets(Command::new("suite").about("All loads of the table, one after the other")).args([
            switch("quick", "Shorter and smaller, for a first look"),
            arg("only", "LOAD").action(ArgAction::Append).value_parser(suite_names()).help("Only this load; may be repeated"),
            arg("time", "SECONDS").value_parser(values::seconds).help("A load lasts, where no count bounds it; default 4, quick 1"),
        ]))
        .subcommand(flow("pairs", "So many publishers, each with one subscriber").arg(connections("10", "Pairs")))
        .subcommand(flow("fan-out", "One publisher, so many subscribers").arg(connections("100", "Subscribers")))
        .subcommand(flow("fan-in", "So many publishers, one subscriber").arg(connections("50", "Publishers")))
        .subcommand(
            flow("subs", "Many filters: half exact, a quarter with +, a quarter with #")
                .args([connections("20", "Connections that subscribe"), number("filters", "200000", "Filters over all connections")]),
        )
        .subcommand(
            flow("latency", "Pairs at a rate; the time from when a message was to be sent to its delivery")
                .arg(connections("10", "Pairs"))
                .mut_arg("rate", |rate| rate.default_value("10000"))
                .mut_arg("window", |window| window.default_value("10000")),
        )
        .subcommand(
            fixed("retained", "Store messages, then get them all on one subscription").arg(number("messages", "100000", "Messages")),
        )
        .subcommand(
            fixed("durable", "Messages for an absent session, which then comes")
                .args([number("messages", "50000", "Messages over all publishers"), number("publishers", "1", "Connections that publish")])
                .mut_arg("qos", kept),
        )
        .subcommand(
            fixed("offline", "Many absent sessions, and messages that wait for each")
                .args([
                    number("sessions", "1000", "Sessions"),
                    number("messages", "100", "Messages that wait for each"),
                    switch("shared", "The same messages for all sessions, instead of each its own"),
                ])
                .mut_arg("qos", kept),
        )
        .subcommand(
            fixed("restart", "Stop and start a server that --start started, with retained messages and absent sessions")
                .args([number("messages", "100000", "Retained messages"), number("sessions", "1000", "Sessions")])
                .mut_arg("qos", kept),
        )
        .subcommand(fixed("storm", "Connections that come and go").args([
            connections("20000", "Connections, one after the other"),
            switch("resume", "Over TLS: resume instead of a full handshake"),
        ]))
        .subcommand(fixed("idle", "Connections that stay open and do nothing").arg(connections("1000", "Connections")))
        .subcommand(
            Command::new("floor").about("The built-in relay: the least that any server must cost. No broker for anything else").args([
                arg("listen", "ADDRESS").default_value("127.0.0.1:1883").value_parser(value_parser!(SocketAddr)).help("ADDRESS:PORT"),
                arg("fault", "WHAT=EVERY")
                    .value_parser(values::fault)
                    .help("Do wrong on purpose, once in EVERY messages: drop, double or swap; shows that a fault is seen"),
            ]),
        )
}

const EXPLANATION: &str = "\
CPU is user and system time of the server's process and its descendants while the load lasts, for each million delivered messages. \
That figure can be compared even on a busy machine; messages a second cannot. The first target is what the others are compared \
with.

The exit status is 1 when a run failed, nothing came back or messages were refused, or a server did what the protocol forbids: lost a \
message above QoS 0, doubled one at QoS 0 or 2, or changed the order of a topic. It is 2 when nothing can be measured. SIGINT, SIGTERM \
and SIGHUP stop what was started and tell what is complete; the status is then 128 and the signal's number.

Example:
  candor bench pairs -t floor -s 'candor-broker --listen mqtt://127.0.0.1:{port} --durability memory' -s 'mosquitto -p {port}' --runs 3 --pin 0,1";

fn suite_names() -> Vec<String> {
    crate::bench::suite(true, None).into_iter().map(|plan| plan.name).collect()
}

/// What every load has.
fn load(command: Command) -> Command {
    targets(command).args([
        arg("qos", "QOS").short('q').value_parser(value_parser!(u8).range(0..=2)).default_value("0").help("0, 1 or 2"),
        arg("payload", "BYTES").value_parser(value_parser!(usize)).default_value("64").help("At least 16"),
        arg("window", "COUNT")
            .short('w')
            .value_parser(value_parser!(usize))
            .default_value("100")
            .help("Messages of a publisher that are not acknowledged and delivered, at most"),
        arg("stall", "SECONDS").value_parser(values::seconds).default_value("5").help("Silence after which what is missing is lost"),
        arg("dialect", "DIALECT").short('V').value_parser(["3.1.1", "extended"]).default_value("3.1.1").help("3.1.1 or extended"),
        arg("dictionary", "BYTES").value_parser(value_parser!(usize)).default_value("0").help("Metadata with each extended message"),
        arg("entries", "COUNT").value_parser(value_parser!(usize)).default_value("1").help("Entries that the metadata is spread over"),
        arg("time", "SECONDS")
            .value_parser(values::seconds)
            .help("The load lasts, at most; what is under way then is waited for; default 3, and 120 where a count bounds it"),
        arg("name", "NAME").help("What the load is called in the report; default: as the command"),
    ])
}

fn beside(name: &'static str, help: &'static str) -> Arg {
    arg(name, "COUNT").value_parser(value_parser!(u32).range(1..=10_000_000)).help(format!("Beside the load: {help}"))
}

fn flow_flags() -> [Arg; 11] {
    [
        switch("mixed", "Half of the publishers and half of the subscribers are extended").conflicts_with("dialect"),
        beside("deaf", "so many more subscribers of the same topics, which never read"),
        beside("retained-beside", "a subscriber that gets so many retained messages").conflicts_with_all(["deaf", "full-queue"]),
        switch("full-queue", "Beside the load: a publisher at full speed into the full queue of an absent session").conflicts_with("deaf"),
        beside("hostile", "so many clients that publish below `forbidden/`, which the server's rules have to deny").conflicts_with_all([
            "deaf",
            "full-queue",
            "retained-beside",
        ]),
        arg("hostile-rate", "PER_SECOND")
            .value_parser(value_parser!(u32).range(1..=100_000_000))
            .default_value("100000")
            .help("Messages of all --hostile clients"),
        arg("hostile-login", "NAME:PASSWORD")
            .value_parser(values::login)
            .requires("hostile")
            .help("Who --hostile clients are; default: as all others"),
        arg("receive-buffer", "BYTES").value_parser(value_parser!(u32).range(1..)).default_value("4096").help("Of each --deaf socket"),
        arg("prefix", "TEXT").help("What topics and client identifiers begin with; default: random for each run"),
        arg("rate", "PER_SECOND").value_parser(value_parser!(f64)).help("Messages over all publishers; default: as the window allows"),
        arg("count", "COUNT").value_parser(value_parser!(u64).range(1..)).default_value("100000000").help("Messages, at most"),
    ]
}

fn targets(command: Command) -> Command {
    command.args(flags::tls_flags()).args([
        arg("target", "[NAME=]URL[,pid=N]")
            .short('t')
            .action(ArgAction::Append)
            .help("A server that runs, with its process where its cost is wanted; or `floor`, the built-in relay; may be repeated"),
        arg("start", "[NAME=]COMMAND").short('s').action(ArgAction::Append).help(
            "A server to start anew for each run: {port} is its port, {dir} a folder, {config:FILE} a copy of FILE with both filled in",
        ),
        arg("pid", "PID").value_parser(value_parser!(u32).range(1..)).help("The process of the one --target"),
        arg("scheme", "SCHEME").value_parser(["mqtt", "mqtts"]).default_value("mqtt").help("How to speak to what --start starts"),
        arg("runs", "COUNT").short('r').value_parser(value_parser!(u32).range(1..=1000)).default_value("1").help("Targets interleaved"),
        arg("pin", "SERVER,LOAD").value_parser(values::pins).help("The cores of what is started and of the load"),
        arg("html", "FILE").value_parser(value_parser!(PathBuf)).help("Write a page with the figures"),
        flags::json_flag(),
    ])
}
