//! Experiments on the command line: those that are known here, and those that a flag declares.

use super::exit::Failure;
use candor_protocol::extension::priority::Priority;
use candor_protocol::extension::{Extension, Registry};
use candor_protocol::packet::kind::{Kind, Kinds};
use candor_protocol::packet::property::{KeyInfo, Range, ValueType, Writer};
use clap::{Arg, ArgAction, ArgMatches};
use std::sync::Arc;

/// The form of the flag's value.
const FORM: &str = "the form is NAME, or NAME:KEY=NUMBER/TYPE and more keys behind commas, as in x-hops:x-hops=-3/number; \
                    a NUMBER is below 0, a TYPE is number, bool, text or bytes";

/// `--experiment NAME[:KEY=NUMBER/TYPE,...]`.
pub(super) fn flag() -> Arg {
    Arg::new("experiment").long("experiment").value_name("NAME[:KEY=NUMBER/TYPE,..]").action(ArgAction::Append).value_parser(parse).help(
        "Run an experiment, may be repeated: x-priority is known; for any other the keys that it adds to messages are declared, as in \
         x-hops:x-hops=-3/number, and --prop can set them",
    )
}

/// An experiment as the flag gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Asked {
    name: String,
    keys: Vec<(String, i64, ValueType)>,
}

fn parse(text: &str) -> Result<Asked, String> {
    let (name, keys) = text.split_once(':').map_or((text, None), |(name, keys)| (name, Some(keys)));
    let keys = keys.into_iter().flat_map(|keys| keys.split(',')).map(|key| parse_key(key).ok_or_else(|| FORM.to_owned()));
    Ok(Asked { name: name.to_owned(), keys: keys.collect::<Result<_, _>>()? })
}

fn parse_key(text: &str) -> Option<(String, i64, ValueType)> {
    let (name, rest) = text.split_once('=')?;
    let (number, value) = rest.split_once('/')?;
    let value = match value {
        "number" => ValueType::Unsigned,
        "bool" => ValueType::Bool,
        "text" => ValueType::Text,
        "bytes" => ValueType::Bytes,
        _ => return None,
    };
    (!name.is_empty()).then_some(())?;
    Some((name.to_owned(), number.parse().ok()?, value))
}

/// An experiment of which the command line knows no more than its keys: it can say them and show them.
#[derive(Debug)]
struct Declared {
    name: &'static str,
    keys: &'static [KeyInfo],
}

impl Declared {
    fn new(asked: &Asked) -> Self {
        // The tables of experiments live as long as the program, and so do these: there are no more than flags.
        let row = |(name, number, value): &(String, i64, ValueType)| KeyInfo {
            number: *number,
            name: String::leak(name.clone()),
            value: *value,
            packets: Kinds::of(&[Kind::Publish]),
            writer: Writer::Both,
            range: Range::Any,
            meaning: "Declared on the command line.",
        };
        Self { name: String::leak(asked.name.clone()), keys: Vec::leak(asked.keys.iter().map(row).collect()) }
    }
}

impl Extension for Declared {
    fn name(&self) -> &'static str {
        self.name
    }

    fn keys(&self) -> &'static [KeyInfo] {
        self.keys
    }
}

fn known() -> Vec<Arc<dyn Extension>> {
    vec![Arc::new(Priority)]
}

/// The experiments that the flags name.
pub(super) fn registry(matches: &ArgMatches) -> Result<Registry, Failure> {
    let usage = |text: String| Failure::Usage(format!("--experiment: {text}"));
    let mut registry = Registry::default();
    for asked in matches.get_many::<Asked>("experiment").into_iter().flatten() {
        let extension: Arc<dyn Extension> = match known().into_iter().find(|known| known.name() == asked.name) {
            Some(known) if asked.keys.is_empty() => known,
            Some(_) => return Err(usage(format!("`{}` is known, and its keys with it; name it alone", asked.name))),
            None => Arc::new(Declared::new(asked)),
        };
        registry.add(extension).map_err(|error| usage(error.to_string()))?;
    }
    Ok(registry)
}

/// `registry`, and behind it everything that is known and not in it: for who wants to see what a server runs.
pub(super) fn with_known(mut registry: Registry) -> Registry {
    for extension in known() {
        // What the flags declare under the same name or number comes first.
        let _ = registry.add(extension);
    }
    registry
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_declares_an_experiment_and_its_keys() {
        let keys = vec![("x-hops".to_owned(), -3, ValueType::Unsigned), ("x-trail".to_owned(), -5, ValueType::Text)];
        assert_eq!(parse("x-hops:x-hops=-3/number,x-trail=-5/text"), Ok(Asked { name: "x-hops".to_owned(), keys }));
        assert_eq!(parse("x-hops"), Ok(Asked { name: "x-hops".to_owned(), keys: vec![] }));
        for wrong in ["x-hops:", "x-hops:x-hops", "x-hops:x-hops=-3", "x-hops:x-hops=three/number", "x-hops:=-3/number", "x-hops:a=-3/map"]
        {
            assert_eq!(parse(wrong), Err(FORM.to_owned()), "{wrong}");
        }
    }
}
