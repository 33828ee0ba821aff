//! Counts, and holds the counts against the table: `cargo run -p candor-counts`, with `-- --accept` to renew the table.
//!
//! Exit status 0: accepted, or counted with other tools than the table, which is then renewed. 1: something differs, or a bound is
//! broken. 2: it could not be counted.

use candor_counts::table::{Comparison, Judgement, Table, Tools};
use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// The program that runs the benchmarks under valgrind; it must be the version of the library.
const RUNNER: &str = "gungraun-runner";
const RUNNER_VERSION: &str = "0.20.0";

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    let accept = match std::env::args().skip(1).collect::<Vec<_>>().as_slice() {
        [] => false,
        [flag] if flag == "--accept" => true,
        other => {
            eprintln!("candor-counts: `{}` is not an option; there is one: --accept renews the table", other.join(" "));
            return ExitCode::from(2);
        }
    };
    match run(accept) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("candor-counts: {error}");
            ExitCode::from(2)
        }
    }
}

fn run(accept: bool) -> Outcome<bool> {
    let house = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = house.ancestors().nth(2).ok_or("the crate is not where it should be")?;
    let file = house.join("counts.toml");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let tools = Tools { rustc: version("rustc")?, valgrind: version("valgrind")? };
    let results = target.join("gungraun");
    if results.exists() {
        // Counts of functions that are no more would be taken for new ones.
        std::fs::remove_dir_all(&results).map_err(|error| format!("{}: {error}", results.display()))?;
    }
    count(root, &runner(root, &target)?)?;
    let counted = Table { tools, counts: collect(&results)? };
    let accepted = match std::fs::read_to_string(&file) {
        Ok(text) => toml::from_str(&text).map_err(|error| format!("{}: {error}", file.display()))?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Table::default(),
        Err(error) => return Err(format!("{}: {error}", file.display()).into()),
    };
    let comparison = Comparison::of(&accepted, &counted);
    print!("{comparison}");
    let broken = counted.broken_bounds();
    if !broken.is_empty() {
        println!("{}: this cannot be accepted.", broken.join("\n"));
        return Ok(false);
    }
    let renew = |why: &str| -> Outcome<bool> {
        std::fs::write(&file, toml::to_string(&counted)?).map_err(|error| format!("{}: {error}", file.display()))?;
        println!("{why}: {} was renewed; commit it.", file.display());
        Ok(true)
    };
    match comparison.judgement {
        _ if accept => renew("accepted on purpose"),
        Judgement::Accepted => Ok(true),
        Judgement::OtherTools => {
            println!("THE TABLE IS OF {:?}, THIS MACHINE HAS {:?}: nothing was judged.", accepted.tools, counted.tools);
            renew("other tools")
        }
        Judgement::Differs(count) => {
            println!("{count} counts differ by more than 5 %: find out why; `cargo run -p candor-counts -- --accept` accepts them.");
            Ok(false)
        }
    }
}

fn version(program: &str) -> Outcome<String> {
    let output = Command::new(program)
        .arg("--version")
        .output()
        .map_err(|error| format!("{program} is needed and cannot be run ({error}); valgrind is a package of the system"))?;
    Ok(String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or_default().to_owned())
}

/// The runner, which is built once if this machine does not have it.
fn runner(root: &Path, target: &Path) -> Outcome<PathBuf> {
    if let Some(path) = std::env::var_os("GUNGRAUN_RUNNER") {
        return Ok(path.into());
    }
    let place = target.join("counts-tools");
    let runner = place.join("bin").join(RUNNER);
    if !runner.exists() {
        eprintln!("building {RUNNER} {RUNNER_VERSION}, which takes a minute or two");
        // It only starts valgrind and reads what that wrote: no need to optimise it.
        let status = Command::new("cargo")
            .args(["install", RUNNER, "--version", RUNNER_VERSION, "--quiet", "--root"])
            .arg(&place)
            .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "0")
            .env("CARGO_PROFILE_RELEASE_LTO", "off")
            .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16")
            .env("CARGO_TARGET_DIR", place.join("build"))
            .current_dir(root)
            .status()?;
        if !status.success() {
            return Err(format!("{RUNNER} {RUNNER_VERSION} cannot be built").into());
        }
    }
    Ok(runner)
}

fn count(root: &Path, runner: &Path) -> Outcome<()> {
    let status = Command::new("cargo")
        .args(["bench", "--quiet", "-p", "candor-counts", "--bench", "counts", "--", "--save-summary=json"])
        .env("GUNGRAUN_RUNNER", runner)
        .current_dir(root)
        .stdout(std::process::Stdio::null())
        .status()?;
    if status.success() { Ok(()) } else { Err("the benchmarks did not run to their end".into()) }
}

/// The counts that the runner left behind.
fn collect(folder: &Path) -> Outcome<BTreeMap<String, u64>> {
    let mut counts = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.file_name().is_some_and(|name| name == "summary.json") {
                let (name, count) = read(&path).ok_or_else(|| format!("{}: no count in it", path.display()))?;
                counts.insert(name, count);
            }
        }
    }
    Ok(counts)
}

fn read(path: &Path) -> Option<(String, u64)> {
    let summary: serde_json::Value = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
    let name = format!("{}.{}", summary.get("function_name")?.as_str()?, summary.get("id")?.as_str()?);
    let metrics = summary.pointer("/profiles/0/data/parts/0/metrics/Ir/values/new")?;
    Some((name, metrics.as_u64()?))
}
