//! The corpus of the fuzz targets and every input that once broke a property, replayed without a fuzzer; and all wire
//! vectors through the same properties. See `protocol/fuzz`.

// Helpers of tests may fail like tests.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "vectors/case.rs"]
#[allow(dead_code, reason = "the module is that of the vectors' own tests, which use all of it")]
mod case;
mod property;

use case::{cases, files};
use property::{decode, dictionary, frames};
use std::path::{Path, PathBuf};

type Property = fn(&[u8]);

/// The fuzz targets and the property that each asserts.
const TARGETS: [(&str, Property); 3] =
    [("decode", decode::any_bytes), ("dictionary", dictionary::any_bytes), ("frames", frames::any_bytes)];

/// The longest input that is kept as a seed.
const SEED_LEN_MAX: usize = 256;

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

/// Every file under `fuzz/FOLDER/TARGET`, with its path.
fn inputs(folder: &str, target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let Ok(entries) = std::fs::read_dir(fuzz().join(folder).join(target)) else { return vec![] };
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
}

#[test]
fn every_seed_and_every_past_crash_keeps_its_property() {
    for (target, property) in TARGETS {
        let seeds = inputs("seeds", target);
        assert!(!seeds.is_empty(), "no seeds for {target}");
        for (path, input) in seeds.into_iter().chain(inputs("crashes", target)) {
            // The name of the input is shown with the failure.
            println!("{}", path.display());
            property(&input);
        }
    }
}

#[test]
fn every_vector_keeps_the_properties_of_all_bytes() {
    for (title, case) in cases() {
        println!("{title}");
        let bytes = case.hex.bytes();
        frames::any_bytes(&frames::input_of(&bytes));
        if let Ok(frame) = case.frame() {
            decode::any_frame(case.dialect, &frame, case.limits.dictionary());
        }
    }
}

#[test]
fn every_dictionary_of_a_vector_is_one_to_a_general_library_too() {
    let mut count = 0;
    for (title, case) in cases() {
        println!("{title}");
        let Ok(packet) = case.read() else { continue };
        dictionary::scanner_and_library_agree(packet.dictionary().as_bytes(), case.limits.dictionary());
        count += usize::from(!packet.dictionary().is_empty());
    }
    assert!(count > 100, "only {count} vectors have a dictionary");
}

/// What the seeds are written from: one packet of each kind of input, the longer the better.
fn seeds() -> Vec<(&'static str, String, Vec<u8>)> {
    let mut seeds = Vec::new();
    let mut dictionaries = Vec::new();
    for file in files() {
        for (at, stream) in file.streams.iter().map(|stream| stream.hex.bytes()).filter(|bytes| bytes.len() <= SEED_LEN_MAX).enumerate() {
            seeds.push(("frames", format!("stream-{at}"), frames::input_of(&stream)));
        }
        for dialect in candor_protocol::dialect::Dialect::ALL {
            let of_dialect = file.cases.iter().filter(|case| case.dialect == dialect && case.packet.is_some());
            let mut inputs: Vec<_> = of_dialect.map(|case| decode::input_of(dialect, &case.frame().unwrap())).collect();
            inputs.retain(|input| input.len() <= SEED_LEN_MAX);
            inputs.sort_by_key(|input| std::cmp::Reverse(input.len()));
            inputs.truncate(3);
            let named = inputs.into_iter().enumerate().map(|(at, input)| ("decode", format!("{}-{dialect}-{at}", file.name), input));
            seeds.extend(named);
        }
        let of_file = file.cases.iter().filter_map(|case| Some(case.read().ok()?.dictionary().as_bytes().to_vec()));
        dictionaries.extend(of_file.filter(|map| file.name == "dictionary" && !map.is_empty() && map.len() <= SEED_LEN_MAX));
    }
    let named = dictionaries.iter().enumerate().map(|(at, map)| ("dictionary", format!("map-{at}"), dictionary::input_of(map)));
    seeds.extend(named);
    seeds
}

/// Writes the seeds anew: `cargo test -p candor-protocol --test corpus -- --ignored`.
#[test]
#[ignore = "a tool: it writes the seeds from the vectors"]
fn write_the_seeds() {
    for (target, name, input) in seeds() {
        let folder = fuzz().join("seeds").join(target);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(name), input).unwrap();
    }
}
