//! The command line of `candor-broker`, made from the table of options.

use super::diagnostic::{Diagnostic, Diagnostics, Origin};
use super::file::{self, Written};
use super::kind::Kind;
use super::option::{GROUPS, Group, OptionInfo, Scope, options};
use super::resolve::{Loaded, resolve};
use super::source::Source;
use super::{Available, manual};
use clap::{Arg, ArgAction, ArgMatches, Command};
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

/// The exit status of a usage or configuration error.
pub const USAGE: u8 = 2;

/// What the command line asks for.
#[derive(Debug)]
pub enum Invocation {
    /// Serve.
    Serve(Box<Loaded>),
    /// Look at everything that the configuration names, print what would be served, and what the clients of this file would lose, and
    /// end.
    Check(Box<Loaded>, Option<PathBuf>),
    /// Print this text on standard output and end with 0.
    Show(String),
    /// Edit a password file.
    Passwd(Passwd),
    /// Say what a data directory holds.
    Inspect(Inspect),
}

/// `candor-broker inspect --data-dir DIR [--json]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspect {
    pub data_dir: PathBuf,
    pub json: bool,
}

/// `candor-broker passwd [-D] FILE USER`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passwd {
    pub file: PathBuf,
    pub user: String,
    pub delete: bool,
}

/// Why the command line or the configuration was refused; the process ends with [`USAGE`].
#[derive(Debug)]
pub enum UsageError {
    /// The command line is not one; the text is complete.
    CommandLine(String),
    /// Its values, or those of the file, are wrong.
    Configuration(Diagnostics),
}

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            UsageError::CommandLine(text) => f.write_str(text.trim_end()),
            UsageError::Configuration(found) => write!(f, "{found}"),
        }
    }
}

impl std::error::Error for UsageError {}

/// Reads the command line, the program's name first, and the file that it names.
///
/// # Errors
/// Everything that is wrong with both.
pub fn invocation(
    args: impl IntoIterator<Item = impl Into<OsString> + Clone>,
    available: &Available<'_>,
) -> Result<Invocation, UsageError> {
    let matches = match command().try_get_matches_from(args) {
        Ok(matches) => matches,
        Err(error) if !error.use_stderr() => return Ok(Invocation::Show(error.render().to_string())),
        Err(error) => return Err(UsageError::CommandLine(error.render().to_string())),
    };
    if let Some(("passwd", sub)) = matches.subcommand() {
        return passwd(sub).map(Invocation::Passwd);
    }
    if let Some(("inspect", sub)) = matches.subcommand() {
        let data_dir = sub.get_one::<PathBuf>("data_dir").cloned().unwrap_or_default();
        return Ok(Invocation::Inspect(Inspect { data_dir, json: sub.get_flag("json") }));
    }
    let flags = flags(&matches).map_err(UsageError::Configuration)?;
    let given = |name: &str| flags.iter().find(|written| written.option.name == name).map(|written| written.text.as_str());
    if given("help_config") == Some("true") {
        return Ok(Invocation::Show(manual::example()));
    }
    if given("help_rules") == Some("true") {
        return Ok(Invocation::Show(crate::auth::rules::EXAMPLE.to_owned()));
    }
    let source = given("config").map(|path| Source::read(path.as_ref(), file::LEN_MAX)).transpose();
    let source = source.map_err(|error| UsageError::Configuration(error.into()))?;
    let loaded = resolve(&flags, source.as_ref(), available).map_err(UsageError::Configuration)?;
    let loaded = Box::new(loaded);
    let against = given("against").map(PathBuf::from);
    Ok(if given("check") == Some("true") { Invocation::Check(loaded, against) } else { Invocation::Serve(loaded) })
}

/// The command, for `--help` and for whatever else is made from it.
pub fn command() -> Command {
    let passwd = Command::new("passwd")
        .about("Adds a user to a password file, replaces the password, or takes the user out")
        .after_help(
            "The password is read from standard input: asked for twice when that is a terminal, else its first line. \
             The file is replaced as a whole, with mode 0600; a running broker reads it again on SIGHUP.",
        )
        .arg(
            Arg::new("file")
                .value_name("FILE")
                .required(true)
                .value_parser(clap::value_parser!(PathBuf))
                .help("The password file; it is made if there is none"),
        )
        .arg(Arg::new("user").value_name("USER").required(true).help("The user name, as clients send it"))
        .arg(Arg::new("delete").short('D').long("delete").action(ArgAction::SetTrue).help("Takes the user out"));
    let inspect = Command::new("inspect")
        .about("Says what a data directory holds: sessions and what they are owed, retained messages, wills")
        .after_help("Nothing is written, and a broker may be running on the directory meanwhile.")
        .arg(
            Arg::new("data_dir")
                .long("data-dir")
                .value_name("DIR")
                .required(true)
                .value_parser(clap::value_parser!(PathBuf))
                .help("The directory"),
        )
        .arg(Arg::new("json").long("json").action(ArgAction::SetTrue).help("As JSON, for programs"));
    Command::new("candor-broker")
        .version(env!("CARGO_PKG_VERSION"))
        .about("The Candor broker: MQTT 3.1.1 and its extension, side by side. Nobody is lied to.")
        .after_help(
            "Every option but those under \"This command\" can also stand in the file that --config names, with underscores; \
             --help-config prints one. Listening addresses go to standard output, logs to standard error.\n\n\
             Exit status: 0 done, 1 other, 2 usage or configuration, 4 an address cannot be listened on, 5 what durability promises \
             cannot be kept: the data folder cannot be used.",
        )
        .args_conflicts_with_subcommands(true)
        .subcommand_help_heading("Other commands")
        .disable_help_subcommand(true)
        .subcommand(passwd)
        .subcommand(inspect)
        .args(GROUPS.iter().flat_map(|group| group.options.iter().map(|option| arg(group, option))))
}

fn arg(group: &Group, option: &'static OptionInfo) -> Arg {
    let flag = option.name.replace('_', "-");
    let arg = Arg::new(option.name)
        .long(flag)
        .help(manual::help(option))
        .long_help(manual::long_help(option))
        .help_heading(group.heading)
        .value_name(option.kind.placeholder(option.name));
    // Values such as -1 are for our own message, not for clap's guess that they are flags.
    let arg = arg.allow_hyphen_values(matches!(option.kind, Kind::Number { .. } | Kind::Bytes { .. } | Kind::Seconds { .. }));
    let arg = match option.short {
        Some(short) => arg.short(short),
        None => arg,
    };
    match option.kind {
        Kind::List { .. } => arg.action(ArgAction::Append),
        Kind::Switch { .. } if option.scope == Scope::CommandLine => arg.action(ArgAction::SetTrue),
        Kind::Switch { .. } => arg.action(ArgAction::Set).num_args(0..=1).require_equals(true).default_missing_value("true"),
        Kind::Path { .. } => arg.action(ArgAction::Set).value_parser(clap::value_parser!(OsString)),
        _ => arg.action(ArgAction::Set),
    }
}

/// The flags that were given, in the order of the table.
fn flags(matches: &ArgMatches) -> Result<Vec<Written>, Diagnostics> {
    let mut flags = Vec::new();
    let mut found = Diagnostics::default();
    for option in options() {
        let origin = Origin::Flag(option.flag());
        if matches!(option.kind, Kind::Switch { .. }) && option.scope == Scope::CommandLine {
            let given = matches.get_flag(option.name).then(|| Written { option, text: "true".into(), origin });
            flags.extend(given);
            continue;
        }
        if matches!(option.kind, Kind::Path { .. }) {
            match matches.get_one::<OsString>(option.name).map(|path| path.to_str()) {
                None => {}
                Some(Some(text)) => flags.push(Written { option, text: text.to_owned(), origin }),
                Some(None) => found.push(Diagnostic::error(origin, "the path is not UTF-8").allowed("UTF-8 text")),
            }
            continue;
        }
        for text in matches.get_many::<String>(option.name).into_iter().flatten() {
            flags.push(Written { option, text: text.clone(), origin: origin.clone() });
        }
    }
    found.unless_errors(flags).map(|(flags, _)| flags)
}

fn passwd(matches: &ArgMatches) -> Result<Passwd, UsageError> {
    // clap has checked that both are there.
    let (Some(file), Some(user)) = (matches.get_one::<PathBuf>("file"), matches.get_one::<String>("user")) else {
        return Err(UsageError::CommandLine("passwd needs FILE and USER".into()));
    };
    Ok(Passwd { file: file.clone(), user: user.clone(), delete: matches.get_flag("delete") })
}

#[cfg(test)]
#[path = "command_tests.rs"]
mod tests;
