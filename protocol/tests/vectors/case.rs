//! The files and their cases, as the README beside them describes.

use candor_protocol::codec::dictionary::Limits;
use candor_protocol::codec::error::Malformed;
use candor_protocol::codec::frame::Frame;
use candor_protocol::dialect::read::{self, BadConnect};
use candor_protocol::dialect::{Dialect, write};
use candor_protocol::packet::Packet;
use candor_protocol::packet::legality::Role;
use serde::Deserialize;
use serde::de::{Deserializer, Error};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// The default of `packet_size_max`: what the framing can express.
const PACKET_SIZE_MAX: u32 = 268_435_460;

/// One file. Each has only the lists that it needs.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct File {
    #[serde(skip)]
    pub(crate) name: String,
    #[serde(rename = "$schema")]
    pub(crate) _schema: String,
    #[serde(rename = "about")]
    pub(crate) _about: String,
    #[serde(default)]
    pub(crate) cases: Vec<Case>,
    #[serde(default)]
    pub(crate) streams: Vec<Stream>,
    #[serde(default)]
    pub(crate) lowering: Vec<Lowering>,
    #[serde(default)]
    pub(crate) reasons: Vec<Value>,
    #[serde(default)]
    pub(crate) carriers: Vec<Value>,
    #[serde(default)]
    pub(crate) keys: Vec<Value>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Case {
    pub(crate) name: String,
    #[serde(deserialize_with = "dialect")]
    pub(crate) dialect: Dialect,
    #[serde(deserialize_with = "role")]
    pub(crate) sender: Role,
    /// Whether the packet is the first of its connection; a CONNECT always is.
    #[serde(default)]
    pub(crate) first: bool,
    #[serde(default)]
    pub(crate) limits: CaseLimits,
    pub(crate) hex: Hex,
    pub(crate) packet: Option<Value>,
    pub(crate) must_fail: Option<String>,
    pub(crate) may_fail: Option<String>,
    pub(crate) canonical: Option<Hex>,
    pub(crate) refused: Option<Refused>,
    /// Ranges of body lengths, both ends included, at which the packet may stop and still be one.
    #[serde(default)]
    pub(crate) early_ends: Vec<(usize, usize)>,
    #[serde(default)]
    pub(crate) statements: Vec<String>,
}

/// Well-formed, and refused for one of its keys.
#[derive(Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub(crate) struct Refused {
    pub(crate) reason: String,
    pub(crate) field: String,
}

#[derive(Debug, Deserialize, Clone, Copy)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct CaseLimits {
    pub(crate) packet_size_max: u32,
    dictionary_len_max: u32,
    dictionary_depth_max: u8,
}

impl Default for CaseLimits {
    fn default() -> Self {
        let limits = Limits::default();
        Self { packet_size_max: PACKET_SIZE_MAX, dictionary_len_max: limits.len_max, dictionary_depth_max: limits.depth_max }
    }
}

impl CaseLimits {
    pub(crate) fn dictionary(self) -> Limits {
        Limits { len_max: self.dictionary_len_max, depth_max: self.dictionary_depth_max }
    }
}

/// Bytes as hexadecimal digits with spaces, in pieces of which some are repeated.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(crate) enum Hex {
    Text(String),
    Pieces(Vec<Piece>),
}

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(crate) enum Piece {
    Text(String),
    Repeat { repeat: String, count: usize },
}

impl Hex {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        match self {
            Hex::Text(text) => unhex(text),
            Hex::Pieces(pieces) => pieces
                .iter()
                .flat_map(|piece| match piece {
                    Piece::Text(text) => unhex(text),
                    Piece::Repeat { repeat, count } => unhex(repeat).repeat(*count),
                })
                .collect(),
        }
    }
}

pub(crate) fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> =
        text.chars().filter(|c| *c != ' ').map(|c| c.to_digit(16).unwrap_or_else(|| panic!("{c:?} in {text:?}")) as u8).collect();
    assert!(digits.len().is_multiple_of(2), "half a byte in {text:?}");
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// A byte stream, the whole packets at its front, and what follows them.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Stream {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) limits: CaseLimits,
    pub(crate) hex: Hex,
    pub(crate) frames: Vec<Hex>,
    /// How many bytes behind the whole packets are the start of one.
    pub(crate) rest: Option<usize>,
    pub(crate) must_fail: Option<String>,
    #[serde(default)]
    pub(crate) statements: Vec<String>,
}

/// What a packet of the model becomes for a plain peer: outcome to ranges of reasons.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Lowering {
    pub(crate) packet: String,
    pub(crate) dialects: Vec<String>,
    pub(crate) senders: Vec<String>,
    pub(crate) becomes: std::collections::BTreeMap<String, Vec<String>>,
}

pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors")
}

/// Every file of vectors, by name.
pub(crate) fn files() -> Vec<File> {
    let mut paths: Vec<_> = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|e| e == "json") && path.file_stem().is_some_and(|name| name != "schema"));
    paths.sort();
    assert!(!paths.is_empty(), "no vectors in {}", folder().display());
    paths.iter().map(|path| read_file(path)).collect()
}

fn read_file(path: &Path) -> File {
    let text = std::fs::read_to_string(path).unwrap();
    let mut file: File = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    file.name = path.file_stem().unwrap().to_string_lossy().into_owned();
    file
}

/// Every case, with a title for messages.
pub(crate) fn cases() -> Vec<(String, Case)> {
    let cases = files().into_iter().flat_map(|file| {
        file.cases
            .into_iter()
            .map(move |case| (format!("{}.json, {}, {}: {}", file.name, case.dialect, role_name(case.sender), case.name), case))
    });
    cases.collect()
}

/// Why a packet was not read: the names that vectors use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    Malformed(Malformed),
    UnsupportedLevel,
}

impl From<Malformed> for Failure {
    fn from(error: Malformed) -> Self {
        Self::Malformed(error)
    }
}

impl From<BadConnect> for Failure {
    fn from(error: BadConnect) -> Self {
        match error {
            BadConnect::Malformed(error) => Self::Malformed(error),
            BadConnect::UnsupportedLevel(_) => Self::UnsupportedLevel,
        }
    }
}

impl Failure {
    /// The name of the variant, with the one inside it behind a dot; values are left out.
    pub(crate) fn name(self) -> String {
        let Self::Malformed(error) = self else { return "UnsupportedLevel".into() };
        let debug = format!("{error:?}");
        let outer = debug.split(['(', ' ']).next().unwrap();
        match error {
            Malformed::Topic(inner) => format!("{outer}.{inner:?}"),
            Malformed::Dictionary(inner) => format!("{outer}.{inner:?}"),
            _ => outer.to_owned(),
        }
    }
}

impl Case {
    pub(crate) fn frame(&self) -> Result<Frame, Failure> {
        let mut bytes = self.hex.bytes().into();
        let frame = Frame::split(&mut bytes, self.limits.packet_size_max)?;
        let frame = frame.unwrap_or_else(|| panic!("{}: the bytes are not a whole packet", self.name));
        assert!(bytes.is_empty(), "{}: bytes follow the packet", self.name);
        Ok(frame)
    }

    pub(crate) fn read(&self) -> Result<Packet, Failure> {
        self.read_frame(&self.frame()?)
    }

    /// Reads a frame as this case's own would be.
    pub(crate) fn read_frame(&self, frame: &Frame) -> Result<Packet, Failure> {
        let limits = self.limits.dictionary();
        if self.first || frame.first >> 4 == 1 {
            let connect = read::raise_connect(frame, limits)?;
            return Ok(Packet::Connect(Box::new(connect)));
        }
        Ok(read::raise(self.dialect, frame, limits)?)
    }

    /// The packet as the sender of this case writes it.
    pub(crate) fn write(&self, packet: &Packet) -> Option<Vec<u8>> {
        write::to_bytes(self.dialect, self.sender, packet).map(|bytes| bytes.to_vec())
    }

    pub(crate) fn may_end_at(&self, len: usize) -> bool {
        self.early_ends.iter().any(|(from, to)| (*from..=*to).contains(&len))
    }
}

pub(crate) fn dialect_of(name: &str) -> Option<Dialect> {
    Dialect::ALL.into_iter().find(|dialect| dialect.name() == name)
}

pub(crate) fn role_of(name: &str) -> Option<Role> {
    [Role::Client, Role::Server].into_iter().find(|role| role_name(*role) == name)
}

pub(crate) fn role_name(role: Role) -> &'static str {
    match role {
        Role::Client => "client",
        Role::Server => "server",
    }
}

fn dialect<'de, D: Deserializer<'de>>(input: D) -> Result<Dialect, D::Error> {
    let name = String::deserialize(input)?;
    dialect_of(&name).ok_or_else(|| D::Error::custom(format!("`{name}` is not a dialect")))
}

fn role<'de, D: Deserializer<'de>>(input: D) -> Result<Role, D::Error> {
    let name = String::deserialize(input)?;
    role_of(&name).ok_or_else(|| D::Error::custom(format!("`{name}` is not a sender")))
}
