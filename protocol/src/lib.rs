//! Candor's protocol: the wire, the packet model, the dialects and the session, without a socket, a clock or a runtime.
//!
//! ```text
//!  bytes -> codec -> dialect: raise -> session -> what it wants done -> the owner: a broker, a client, a test
//!  bytes <- codec <- dialect: lower <- session <- the owner's answers
//! ```
//!
//! # The tour
//!
//! - [`packet`] is what is spoken of: packets, reasons, keys, profiles. Its tables are the one place where a number has a meaning;
//!   codec, `candor explain`, vectors and the draft follow from them.
//! - [`codec`] turns bytes into frames, fields and dictionaries, and knows no packet.
//! - [`dialect`] turns frames into packets and back, in MQTT 3.1, 3.1.1 and extended, and negotiates which it is.
//! - [`session`] is one end of a connection. It is given packets, answers and the time, and says what it wants: send this, keep that,
//!   hand this message on. The same code runs in server and client.
//! - [`extension`] adds experiments to all of this, by name.
//! - [`annotate`] says what the bytes of a packet mean; [`shown`] makes text of a peer fit for a log or a terminal.
//! - [`scheme`] names the transports in URLs, for listeners and clients.
//! - `sim` (feature `sim`) lets two sessions meet on a virtual clock, over a transport that loses, cuts and delays.
//!
//! # Bounds
//!
//! What comes from a peer is checked before it is kept: the size of a packet, the depth and length of a dictionary, the range of each
//! value. A session holds no more exchanges than the windows that were agreed; what is too much is refused with a reason.
pub mod annotate;
pub mod codec;
pub mod dialect;
pub mod extension;
pub mod packet;
pub mod scheme;
pub mod session;
pub mod shown;
#[cfg(feature = "sim")]
pub mod sim;
