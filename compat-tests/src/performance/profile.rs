//! Where the broker's time goes: which system calls a message takes, and which functions the processor is in.

use super::catalogue::{Load, Scale};
use super::measure::Bench;
use super::target::Target;
use crate::outcome::{Checked, Stop};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// What is looked at: messages together and alone, large ones, and many receivers.
pub(super) const LOADS: [&str; 4] = ["qos0", "qos0-1k", "qos0-w1", "fanout"];
/// Those whose functions are shown.
pub(super) const SAMPLED: [&str; 3] = ["qos0", "qos0-w1", "storm"];
/// What the kernel's begin with.
const KERNEL: &str = "kernel:";
/// Functions that are shown.
const TOP: usize = 10;
/// System calls that are rarer than this a message are of no message: opening connections, for the most part.
pub(super) const CALLS_MIN: f64 = 0.005;

/// By load.
pub type Profiles = BTreeMap<String, Profile>;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Profile {
    /// Of each system call, how many a delivered message.
    pub calls: BTreeMap<String, f64>,
    /// Functions and their share of the processor, percent, the largest first.
    pub functions: Vec<(String, f64)>,
    /// Of all functions, the kernel's, percent.
    #[serde(default)]
    pub kernel_share: Option<f64>,
}

/// A broker of our own that runs already.
struct Serving {
    child: Child,
    address: String,
}

impl Serving {
    fn start(bench: &Bench) -> Checked<Self> {
        let mut command = Command::new(&bench.broker);
        command.args(["--listen", "mqtt://127.0.0.1:0", "--log", "error", "--durability", "memory", "--threads", "1"]);
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        let read = child.stdout.take().map(|stdout| BufReader::new(stdout).read_line(&mut line));
        let serving = Self { child, address: line.trim().trim_start_matches("listening ").to_owned() };
        match read {
            Some(Ok(1..)) => Ok(serving),
            _ => Err(Stop::failed("the broker to be profiled does not listen")),
        }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Profiles each of [`LOADS`]. A tool that is missing, or may not look at another process, leaves its part empty.
pub(super) fn all(bench: &Bench, scale: Scale) -> Checked<Profiles> {
    let mut profiles = Profiles::new();
    for name in LOADS {
        let load = super::catalogue::suite(name, &[Target::Candor], scale);
        let file = bench.folder.path().join("calls");
        let (delivered, ended) = watched(bench, &load, scale, "strace", &["-f", "-c", "-o"], &file)?;
        if ended {
            let profile: &mut Profile = profiles.entry(name.to_owned()).or_default();
            profile.calls = calls(&std::fs::read_to_string(&file).unwrap_or_default(), delivered);
        }
    }
    for name in SAMPLED {
        let load = super::catalogue::suite(name, &[Target::Candor], scale);
        let file = bench.folder.path().join("samples");
        if watched(bench, &load, scale, "perf", &["record", "-q", "-F", "997", "-o"], &file)?.1 {
            let mut report = Command::new("perf");
            report.args(["report", "--stdio", "--no-children", "-F", "overhead,symbol", "-i"]).arg(&file);
            let said = report.stderr(Stdio::null()).output().map(|output| output.stdout).unwrap_or_default();
            let all = functions(&String::from_utf8_lossy(&said));
            let profile = profiles.entry(name.to_owned()).or_default();
            let kernel = all.iter().filter(|(symbol, _)| symbol.starts_with(KERNEL)).map(|(_, share)| share).sum::<f64>();
            profile.kernel_share = (!all.is_empty()).then_some((kernel * 10.0).round() / 10.0);
            profile.functions = all.into_iter().take(TOP).collect();
        }
    }
    Ok(profiles)
}

/// Runs a load while a tool looks at the broker: messages delivered, and whether the tool came to its end.
fn watched(bench: &Bench, load: &Load, scale: Scale, tool: &str, arguments: &[&str], file: &Path) -> Checked<(u64, bool)> {
    let serving = Serving::start(bench)?;
    let pid = serving.child.id().to_string();
    // It writes its summary when it is interrupted; by then the load is over.
    let seconds = if scale == Scale::Full { "6" } else { "2" };
    let mut looking = Command::new("timeout");
    looking.args(["-s", "INT", seconds, tool]).args(arguments).arg(file).args(["-p", &pid]);
    let mut looking = looking.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let row = bench.rows(load, &["--target".to_owned(), format!("candor={},pid={pid}", serving.address)])?;
    // 124: `timeout` has interrupted it.
    let ended = looking.wait()?.code() == Some(124);
    let delivered = row.first().and_then(|row: &Value| row["runs"][0]["count"]["delivered"].as_u64()).unwrap_or_default();
    Ok((delivered, ended && delivered > 0))
}

/// Reads what `strace -c` writes: a line a system call, with the calls in the fourth column and the name in the last.
fn calls(text: &str, delivered: u64) -> BTreeMap<String, f64> {
    let line = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (count, name) = (words.get(3)?.parse::<f64>().ok()?, (*words.last()?).to_owned());
        let share = (count / delivered as f64 * 1e4).round() / 1e4;
        (name != "total" && share >= CALLS_MIN).then_some((name, share))
    };
    text.lines().filter_map(line).collect()
}

/// Reads what `perf report` writes: share and symbol of every function, the largest first, below comments.
fn functions(text: &str) -> Vec<(String, f64)> {
    let line = |line: &str| {
        let (share, symbol) = line.trim().split_once('%')?;
        let share = share.trim().parse().ok()?;
        // `[k]` is the kernel's; a hash at the end of a name says nothing to anybody.
        let symbol = symbol.trim().trim_start_matches("[.] ").replace("[k]", KERNEL);
        let symbol = symbol.rsplit_once("::h").filter(|(_, hash)| hash.len() == 16).map_or(symbol.as_str(), |(name, _)| name).to_owned();
        Some((symbol, share))
    };
    text.lines().filter(|line| !line.starts_with('#')).filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_counted_by_message_and_rare_ones_left_out() {
        let text = "% time     seconds  usecs/call     calls    errors syscall\n------ ----------- ----------- --------- --------- ------\n\
             \u{20}60.00    0.010000           5      2000         3 recvfrom\n 40.00    0.006000           6      1000           sendto\n\
             \u{20} 0.00    0.000000           0         1           mmap\n------ ----------- ----------- --------- --------- ------\n\
             100.00    0.016000           5      3001         3 total\n";
        assert_eq!(calls(text, 10_000), [("recvfrom".to_owned(), 0.2), ("sendto".to_owned(), 0.1)].into());
    }

    #[test]
    fn functions_have_their_share_and_no_hash() {
        let text = "# Overhead  Symbol\n#\n    12.50%  [.] candor::route::h0123456789abcdef\n     3.10%  [k] tcp_sendmsg\n\n";
        assert_eq!(functions(text), [("candor::route".to_owned(), 12.5), ("kernel: tcp_sendmsg".to_owned(), 3.1)]);
    }
}
