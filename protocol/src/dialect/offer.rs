//! The offer and its answer: how two ends that know the extension find each other on an ordinary 3.1.1 connection.
//!
//! The client sends CONNECT at level 4, then as the first packet after it an UNSUBSCRIBE with packet identifier 0xFFFF
//! and exactly one filter, the *offer*, then PINGREQ, all in one write. A server that does not know the extension
//! removes a subscription that does not exist. One that does answers with an UNSUBACK that carries the *accept*. The
//! client's next packet is then NOTICE *confirm*, and everything from there on is extended.
//!
//! ```text
//! offer    x-candor/1/NONCE/CLIENT/DICTIONARY      the three parts in base64url without padding
//! NONCE      16 random bytes
//! CLIENT     the first 16 bytes of SHA-256 over the client identifier
//! accept   "CNDR" 0x01 | nonce (16) | hash (32) | flags (1) | length | dictionary
//! hash       SHA-256 over CONNECT and UNSUBSCRIBE as the server received them
//! confirm  the first 16 bytes of SHA-256 over the accept
//! ```

use super::OFFER_PREFIX;
use crate::codec::cursor::{Reader, put_varint};
use crate::codec::dictionary::{Dictionary, Limits};
use crate::packet::id::PacketId;
use crate::packet::subscribe::Unsubscribe;
use crate::packet::topic::TopicFilter;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use bytes::{BufMut, Bytes, BytesMut};
use sha2::{Digest, Sha256};

/// Random bytes that tie an answer to its offer.
pub type Nonce = [u8; 16];

const VERSION: &str = "1";
const MAGIC: &[u8] = b"CNDR\x01";
/// The packet identifier of an offer; no other packet of a client uses it.
pub const OFFER_ID: PacketId = PacketId::MAX;

/// SHA-256 over CONNECT and the offer as they went over the wire: both ends hash them, so that neither can be deceived about
/// what the other saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TranscriptHash([u8; 32]);

impl TranscriptHash {
    /// Of CONNECT and UNSUBSCRIBE as whole packets.
    pub fn of(connect: &[u8], offer: &[u8]) -> Self {
        Self(Sha256::new_with_prefix(connect).chain_update(offer).finalize().into())
    }
}

fn client_hash(client_id: &str) -> [u8; 16] {
    first_16(Sha256::digest(client_id.as_bytes()).as_slice())
}

fn first_16(hash: &[u8]) -> [u8; 16] {
    let mut out = [0; 16];
    out.copy_from_slice(&hash[..16]);
    out
}

/// An offer as a server reads it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Offer {
    pub nonce: Nonce,
    /// What an extended CONNECT would have carried; never a credential or a requirement.
    pub dictionary: Dictionary,
}

impl Offer {
    /// The UNSUBSCRIBE that carries this offer for `client_id`; `None` when the dictionary is too long for a filter.
    pub fn to_packet(&self, client_id: &str) -> Option<Unsubscribe> {
        let filter = format!(
            "{OFFER_PREFIX}/{VERSION}/{}/{}/{}",
            BASE64.encode(self.nonce),
            BASE64.encode(client_hash(client_id)),
            BASE64.encode(self.dictionary.as_bytes())
        );
        let filter = TopicFilter::new(filter).ok()?;
        Some(Unsubscribe { id: OFFER_ID, filters: vec![Ok(filter)], dictionary: Dictionary::EMPTY })
    }

    /// Reads an offer of exactly the form above for `client_id`; `None`: it is an ordinary UNSUBSCRIBE.
    pub fn of_packet(packet: &Unsubscribe, client_id: &str, limits: Limits) -> Option<Self> {
        let [Ok(filter)] = packet.filters.as_slice() else { return None };
        if packet.id != OFFER_ID {
            return None;
        }
        let mut levels = filter.as_str().split('/');
        let mut next = || levels.next();
        if next() != Some(OFFER_PREFIX) || next() != Some(VERSION) {
            return None;
        }
        let mut bytes = || next().and_then(|level| BASE64.decode(level).ok());
        let nonce = Nonce::try_from(bytes()?).ok()?;
        let client = bytes()?;
        let dictionary = bytes()?;
        if levels.next().is_some() || client != client_hash(client_id) {
            return None;
        }
        let dictionary = Dictionary::parse(dictionary.into(), limits).ok()?;
        Some(Self { nonce, dictionary })
    }
}

/// The answer that says yes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Accept {
    pub nonce: Nonce,
    pub hash: TranscriptHash,
    /// What an extended CONNACK would have carried.
    pub session_present: bool,
    pub dictionary: Dictionary,
}

/// Why bytes behind an UNSUBACK are not the accept that was waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BadAccept {
    /// They are no accept at all.
    NotAnAccept,
    /// The accept answers another offer: its nonce is not ours.
    WrongNonce,
    /// The server received another CONNECT or offer than the one that was sent.
    WrongHash,
    /// It came after the client had taken the answer for a no.
    TooLate,
}

impl std::fmt::Display for BadAccept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::NotAnAccept => "the UNSUBACK is longer than MQTT 3.1.1 allows, and what follows is no accept",
            Self::WrongNonce => "the accept answers another offer than ours",
            Self::WrongHash => "the server did not receive CONNECT and the offer as they were sent",
            Self::TooLate => "an accept came after the answer had been taken for a no",
        })
    }
}

impl std::error::Error for BadAccept {}

impl Accept {
    pub fn to_bytes(&self) -> Bytes {
        let mut out = BytesMut::new();
        out.put_slice(MAGIC);
        out.put_slice(&self.nonce);
        out.put_slice(&self.hash.0);
        out.put_u8(u8::from(self.session_present));
        put_varint(&mut out, self.dictionary.as_bytes().len() as u32);
        out.put_slice(self.dictionary.as_bytes());
        out.freeze()
    }

    /// Reads an accept and holds it against the offer it must answer.
    ///
    /// # Errors
    /// It is none, or answers something else.
    pub fn of_bytes(bytes: &Bytes, nonce: &Nonce, hash: &TranscriptHash, limits: Limits) -> Result<Self, BadAccept> {
        let accept = Self::read(bytes, limits).ok_or(BadAccept::NotAnAccept)?;
        if accept.nonce != *nonce {
            return Err(BadAccept::WrongNonce);
        }
        if accept.hash != *hash {
            return Err(BadAccept::WrongHash);
        }
        Ok(accept)
    }

    /// Reads an accept without an offer to hold it against: for tools that explain bytes.
    pub fn read(bytes: &Bytes, limits: Limits) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        if reader.raw(MAGIC.len()).ok()? != MAGIC {
            return None;
        }
        let nonce = Nonce::try_from(reader.raw(16).ok()?).ok()?;
        let hash = TranscriptHash(<[u8; 32]>::try_from(reader.raw(32).ok()?).ok()?);
        let flags = reader.u8().ok()?;
        let len = reader.varint().ok()?;
        let dictionary = Dictionary::parse(reader.slice(len as usize).ok()?, limits).ok()?;
        (flags & !0x01 == 0 && reader.is_at_end()).then_some(Self { nonce, hash, session_present: flags == 1, dictionary })
    }

    /// What the client's confirm carries.
    pub fn confirm_hash(accept: &[u8]) -> Bytes {
        Bytes::copy_from_slice(&first_16(Sha256::digest(accept).as_slice()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer() -> Offer {
        Offer { nonce: [7; 16], dictionary: Dictionary::with(crate::packet::property::RECEIVE_MAXIMUM, &20) }
    }

    #[test]
    fn an_offer_survives_its_filter_and_is_short() {
        let packet = offer().to_packet("device-1").unwrap();
        assert!(packet.filters[0].as_ref().unwrap().as_str().len() < 200);
        assert_eq!(Offer::of_packet(&packet, "device-1", Limits::default()), Some(offer()));
    }

    #[test]
    fn nothing_but_the_exact_form_is_an_offer() {
        let read = |packet: &Unsubscribe| Offer::of_packet(packet, "device-1", Limits::default());
        let good = offer().to_packet("device-1").unwrap();
        assert_eq!(Offer::of_packet(&good, "device-2", Limits::default()), None);
        let with = |change: &dyn Fn(&str) -> String| {
            let filter = TopicFilter::new(change(good.filters[0].as_ref().unwrap().as_str())).unwrap();
            Unsubscribe { filters: vec![Ok(filter)], ..good.clone() }
        };
        assert_eq!(read(&with(&|text| text.to_owned())), Some(offer()));
        assert_eq!(read(&with(&|text| format!("{text}/x"))), None);
        assert_eq!(read(&with(&|text| text.replacen("/1/", "/2/", 1))), None);
        assert_eq!(read(&with(&|text| format!("{text}="))), None);
        assert_eq!(read(&with(&|text| text[..text.len() - 1].to_owned())), None);
        assert_eq!(read(&Unsubscribe { id: PacketId::MIN, ..good.clone() }), None);
        let twice = Unsubscribe { filters: vec![good.filters[0].clone(), good.filters[0].clone()], ..good };
        assert_eq!(read(&twice), None);
    }

    #[test]
    fn an_accept_is_held_against_its_offer() {
        let hash = TranscriptHash::of(b"connect", b"offer");
        let accept = Accept { nonce: [7; 16], hash, session_present: true, dictionary: offer().dictionary };
        let bytes = accept.to_bytes();
        let read = |bytes: &Bytes, nonce: Nonce, hash: &TranscriptHash| Accept::of_bytes(bytes, &nonce, hash, Limits::default());
        assert_eq!(read(&bytes, [7; 16], &hash), Ok(accept));
        assert_eq!(read(&bytes, [8; 16], &hash), Err(BadAccept::WrongNonce));
        assert_eq!(read(&bytes, [7; 16], &TranscriptHash::of(b"connect", b"other")), Err(BadAccept::WrongHash));
        for cut in 0..bytes.len() {
            assert_eq!(read(&bytes.slice(..cut), [7; 16], &hash), Err(BadAccept::NotAnAccept), "cut at {cut}");
        }
    }
}
