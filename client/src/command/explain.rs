//! `candor explain`: what the bytes of packets mean.

use super::exit::{Exit, Failure};
use super::flags;
use crate::explain::{DialectChoice, ExplainOptions, Explained, INPUT_LEN_MAX, InputForm, Output, SenderChoice, run as explain};
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use std::io::{self, IsTerminal, Read, Write};
use std::path::PathBuf;

pub(super) fn command() -> Command {
    let set = |name: &'static str| Arg::new(name).long(name).action(ArgAction::SetTrue);
    Command::new("explain").about("Say what the bytes of packets mean").args([
        Arg::new("hex")
            .value_name("HEX")
            .action(ArgAction::Append)
            .conflicts_with("file")
            .help("Hexadecimal digits; default standard input"),
        Arg::new("file").long("file").short('f').value_name("FILE").value_parser(value_parser!(PathBuf)).help("Read FILE"),
        Arg::new("dialect")
            .long("dialect")
            .short('V')
            .value_name("DIALECT")
            .default_value("auto")
            .value_parser(|text: &str| text.parse::<DialectChoice>())
            .help("auto, 3.1, 3.1.1 or extended"),
        Arg::new("sender")
            .long("sender")
            .value_name("END")
            .default_value("auto")
            .value_parser(|text: &str| text.parse::<SenderChoice>())
            .help("auto, client or server"),
        set("raw").conflicts_with("hexadecimal").help("The input is raw bytes"),
        set("hexadecimal").help("The input is hexadecimal digits"),
        set("brief").help("Leave out single bits and meanings"),
        set("show-secrets").help("Show passwords"),
        flags::json_flag(),
    ])
}

pub(super) fn run(matches: &ArgMatches) -> Result<(), Failure> {
    let input = input(matches)?;
    let terminal = io::stdout().is_terminal();
    let width = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok()).unwrap_or(100);
    let output = match matches.get_flag("json") {
        true => Output::Json,
        false => Output::Text { width, color: terminal && std::env::var_os("NO_COLOR").is_none(), brief: matches.get_flag("brief") },
    };
    let options = ExplainOptions {
        dialect: matches.get_one::<DialectChoice>("dialect").copied().unwrap_or_default(),
        sender: matches.get_one::<SenderChoice>("sender").copied().unwrap_or_default(),
        form: match (matches.get_flag("raw"), matches.get_flag("hexadecimal")) {
            (true, _) => InputForm::Raw,
            (_, true) => InputForm::Hexadecimal,
            _ => InputForm::Detect,
        },
        output,
        show_secrets: matches.get_flag("show-secrets"),
    };
    let mut out = io::BufWriter::new(io::stdout());
    let written = explain(&options, &input, &mut out).and_then(|explained| out.flush().map(|()| explained));
    match written {
        Ok(Explained::WellFormed) => Ok(()),
        Ok(Explained::Faulty) => Err(Failure::Said(Exit::Other)),
        Ok(Explained::Unusable(_)) if matches.get_flag("json") => Err(Failure::Said(Exit::Usage)),
        Ok(Explained::Unusable(bad)) => Err(Failure::Usage(bad.to_string())),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(Failure::Other(format!("standard output: {error}"))),
    }
}

/// One byte more than is taken, so that what is too long is told as that.
fn input(matches: &ArgMatches) -> Result<Vec<u8>, Failure> {
    if let Some(words) = matches.get_many::<String>("hex") {
        return Ok(words.map(String::as_str).collect::<Vec<_>>().join(" ").into_bytes());
    }
    let mut input = Vec::new();
    let limit = INPUT_LEN_MAX as u64 + 1;
    let (read, name) = match matches.get_one::<PathBuf>("file") {
        Some(path) => {
            let read = std::fs::File::open(path).and_then(|file| file.take(limit).read_to_end(&mut input));
            (read, path.display().to_string())
        }
        None => (io::stdin().lock().take(limit).read_to_end(&mut input), "standard input".to_owned()),
    };
    read.map(|_| input).map_err(|error| Failure::Usage(format!("{name}: {error}")))
}
