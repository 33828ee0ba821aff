//! TLS, server side: the library's connection without its buffers. Records are decrypted in the caller's input buffer and
//! written straight to the caller's output buffer, so that nothing is kept between two calls.
//!
//! A record has at most 16 KiB (and its overhead), so that after the handshake no more than that stays in the input
//! buffer. During the handshake it is a whole message, with all that lies between its records; the library allows 64 KiB
//! of message in records of one byte, which is over a megabyte, and [`INPUT_LEFT_MAX`] does not.

mod certificate;
mod failure;
pub(super) mod files;
mod settings;

pub use failure::TlsFailure;
pub use files::{TlsFile, TlsSettingsError};
pub use settings::{BadTlsVersion, Prepared, TlsHandshakes, TlsListener, TlsOptions, TlsSettings, TlsVersion};

use super::detect::{FIRST_BYTES_MIN, Mismatch, Spoken, detect};
use super::error::TransportError;
use super::url::Scheme;
use super::{INPUT_LEFT_MAX, Progress, TlsInfo, http};
use bytes::{Buf, BytesMut};
use failure::Cause;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};
use rustls::{HandshakeKind, ProtocolVersion};
use settings::Counters;
use std::fmt;
use std::sync::Arc;

/// What is first tried for a record of the handshake, in bytes; the library says if it needs more.
const HANDSHAKE_ESTIMATE: usize = 128;
/// The largest plaintext of a record, in bytes (RFC 8446, section 5.1).
const RECORD_PLAINTEXT_MAX: usize = 1 << 14;
/// More than any record's overhead: header, nonce of TLS 1.2, content type, authentication tag.
const RECORD_OVERHEAD_MAX: usize = 64;

/// A TLS connection's state.
pub(super) struct Tls {
    connection: UnbufferedServerConnection,
    counters: Arc<Counters>,
    listener: TlsListener,
    phase: Phase,
    server_name: Option<Box<str>>,
    /// The ALPN ids of the ClientHello, for an error's text; given up once the handshake is done.
    offered: String,
    /// How many bytes were left in the input buffer. The library refers to them by their place.
    left: usize,
    /// The peer's close_notify has come.
    peer_closed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Nothing has been understood yet.
    Fresh,
    Handshaking,
    Open,
    /// Our close_notify is sent; the peer's data may still come.
    Closing,
    Closed,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("listener", &self.listener).field("phase", &self.phase).finish_non_exhaustive()
    }
}

impl Tls {
    pub(super) fn new(settings: &TlsSettings, listener: TlsListener) -> Result<Self, TransportError> {
        let failure = |error| TlsFailure { cause: Cause::Library(error), listener, offered: String::new() };
        Ok(Self {
            connection: settings.connection(listener).map_err(failure)?,
            counters: settings.counters(),
            listener,
            phase: Phase::Fresh,
            server_name: None,
            offered: String::new(),
            left: 0,
            peer_closed: false,
        })
    }

    pub(super) fn is_handshaking(&self) -> bool {
        matches!(self.phase, Phase::Fresh | Phase::Handshaking)
    }

    /// Whether the extended dialect's ALPN id was selected.
    pub(super) fn is_extended(&self) -> bool {
        self.connection.alpn_protocol() == Some(candor_protocol::dialect::ALPN.as_bytes())
    }

    pub(super) fn info(&self) -> Option<TlsInfo> {
        let version = match self.connection.protocol_version()? {
            ProtocolVersion::TLSv1_2 => TlsVersion::V1_2,
            _ => TlsVersion::V1_3,
        };
        let alpn = self.connection.alpn_protocol().map(|id| String::from_utf8_lossy(id).into_owned());
        let client_certificate = self.connection.peer_certificates().and_then(|chain| chain.first());
        Some(TlsInfo {
            version,
            resumed: self.is_resumed(),
            alpn,
            server_name: self.server_name.as_deref().map(str::to_owned),
            client_certified: client_certificate.is_some(),
            client_name: client_certificate.and_then(|der| certificate::subject_name(der)),
        })
    }

    fn is_resumed(&self) -> bool {
        self.connection.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// See [`super::Transport::receive`], with decrypted bytes for `mqtt`.
    pub(super) fn receive(
        &mut self,
        input: &mut BytesMut,
        plain: &mut BytesMut,
        output: &mut BytesMut,
    ) -> Result<Progress, TransportError> {
        if input.len() < self.left {
            return Err(self.fail(TransportError::InputLost));
        }
        // Too few bytes to tell TLS from something else.
        if self.phase == Phase::Fresh && input.len() < FIRST_BYTES_MIN {
            self.left = input.len();
            return Ok(Progress::Handshaking);
        }
        if self.phase == Phase::Closed || self.peer_closed {
            // What comes behind close_notify is not authenticated as being in its place.
            input.clear();
            self.left = 0;
            return Ok(Progress::PeerClosed);
        }
        if self.phase == Phase::Fresh {
            self.check_first_bytes(input, output)?;
        }
        match self.advance(input, plain, output) {
            Ok(progress) => {
                self.left = input.len();
                Ok(progress)
            }
            Err(cause) => {
                self.drain(output);
                let failure = TlsFailure { cause, listener: self.listener, offered: std::mem::take(&mut self.offered) };
                Err(self.fail(failure.into()))
            }
        }
    }

    fn fail(&mut self, error: TransportError) -> TransportError {
        if self.is_handshaking() {
            self.counters.failure();
        }
        self.phase = Phase::Closed;
        self.left = 0;
        error
    }

    /// Refuses what is known to be something else, in words that its sender can read.
    fn check_first_bytes(&mut self, input: &[u8], output: &mut BytesMut) -> Result<(), TransportError> {
        let listener = match self.listener {
            TlsListener::Mqtt => Scheme::Mqtts,
            TlsListener::WebSocket => Scheme::Wss,
        };
        let Some(mismatch) = detect(listener, input) else { return Ok(()) };
        if let Mismatch { spoken: Spoken::Http, .. } = mismatch {
            http::refuse((400, "Bad Request"), "", &mismatch.to_string(), output);
        }
        Err(self.fail(mismatch.into()))
    }

    fn advance(&mut self, input: &mut BytesMut, plain: &mut BytesMut, output: &mut BytesMut) -> Result<Progress, Cause> {
        loop {
            let UnbufferedStatus { mut discard, state } = self.connection.process_tls_records(input);
            let step = match state.map_err(Cause::Library) {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => loop {
                    match traffic.next_record() {
                        None => break Ok(Step::Again),
                        Some(Err(error)) => break Err(Cause::Library(error)),
                        Some(Ok(record)) => {
                            discard += record.discard;
                            plain.extend_from_slice(record.payload);
                        }
                    }
                },
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    append(output, HANDSHAKE_ESTIMATE, |space| data.encode(space)).map(|()| Step::Again)
                }
                Ok(ConnectionState::TransmitTlsData(data)) => {
                    data.done();
                    Ok(Step::Again)
                }
                Ok(ConnectionState::PeerClosed) => {
                    self.peer_closed = true;
                    Ok(Step::Again)
                }
                Ok(_) => Ok(Step::Wait),
                Err(cause) => Err(cause),
            };
            input.advance(discard);
            self.note_hello();
            if let Step::Wait = step? {
                break;
            }
        }
        self.settle(input)
    }

    /// Draws the conclusions of having taken all that can be taken.
    fn settle(&mut self, input: &mut BytesMut) -> Result<Progress, Cause> {
        if self.is_handshaking() {
            if self.connection.is_handshaking() {
                let is_bounded = input.len() <= INPUT_LEFT_MAX;
                return if is_bounded { Ok(Progress::Handshaking) } else { Err(Cause::HandshakeTooLarge) };
            }
            self.counters.handshake(self.is_resumed());
            self.offered = String::new();
            self.phase = Phase::Open;
        }
        if self.peer_closed {
            input.clear();
            return Ok(Progress::PeerClosed);
        }
        // From now on records are written without the input at hand, which the library only allows when it refers to
        // none of it: when no whole record is left there.
        if let [_, _, _, high, low, rest @ ..] = &input[..]
            && rest.len() >= usize::from(u16::from_be_bytes([*high, *low]))
        {
            return Err(Cause::SplitAfterHandshake);
        }
        Ok(Progress::Open)
    }

    fn note_hello(&mut self) {
        if !self.is_handshaking() {
            return;
        }
        if let Some(hello) = settings::take_hello() {
            self.phase = Phase::Handshaking;
            self.server_name = hello.server_name;
            self.offered = hello.alpn;
        }
    }

    /// Appends the records of `plain`, as few as there can be; nothing while the handshake lasts.
    pub(super) fn send(&mut self, plain: &mut BytesMut, output: &mut BytesMut) -> Result<(), TransportError> {
        match self.phase {
            Phase::Fresh | Phase::Handshaking => return Ok(()),
            _ if plain.is_empty() => return Ok(()),
            Phase::Open => {}
            Phase::Closing | Phase::Closed => return Err(TransportError::Closed),
        }
        if let Err(cause) = self.encrypt(plain, output) {
            let failure = TlsFailure { cause, listener: self.listener, offered: String::new() };
            return Err(self.fail(failure.into()));
        }
        plain.clear();
        Ok(())
    }

    fn encrypt(&mut self, plain: &[u8], output: &mut BytesMut) -> Result<(), Cause> {
        loop {
            // See `settle` for why an empty input is safe.
            match self.connection.process_tls_records(&mut []).state.map_err(Cause::Library)? {
                ConnectionState::WriteTraffic(mut traffic) => {
                    let bound = plain.len() + (plain.len() / RECORD_PLAINTEXT_MAX + 1) * RECORD_OVERHEAD_MAX;
                    return append(output, bound, |space| traffic.encrypt(plain, space));
                }
                ConnectionState::EncodeTlsData(mut data) => append(output, HANDSHAKE_ESTIMATE, |space| data.encode(space))?,
                ConnectionState::TransmitTlsData(data) => data.done(),
                _ => return Err(Cause::Library(rustls::Error::HandshakeNotComplete)),
            }
        }
    }

    /// Appends close_notify, once. A handshake that is broken off has none: the end of the TCP stream tells of it.
    pub(super) fn close(&mut self, output: &mut BytesMut) {
        if self.phase != Phase::Open {
            if self.is_handshaking() {
                self.phase = Phase::Closed;
            }
            return;
        }
        self.phase = Phase::Closing;
        // See `settle` for why an empty input is safe.
        if let Ok(ConnectionState::WriteTraffic(mut traffic)) = self.connection.process_tls_records(&mut []).state {
            // Fails only when the keys are used up, and then there is no way to say it.
            let _ = append(output, RECORD_OVERHEAD_MAX, |space| traffic.queue_close_notify(space));
        }
    }

    /// Appends what is ready to be sent, without reading: this is safe whatever is in the input buffer.
    fn drain(&mut self, output: &mut BytesMut) {
        while self.connection.wants_write() {
            let UnbufferedStatus { state, .. } = self.connection.process_tls_records(&mut []);
            let Ok(ConnectionState::EncodeTlsData(mut data)) = state else { return };
            if append(output, HANDSHAKE_ESTIMATE, |space| data.encode(space)).is_err() {
                return;
            }
        }
    }
}

/// What follows a step of the library.
enum Step {
    Again,
    Wait,
}

/// Why the library did not write.
enum Unwritten {
    /// The space has to have so many bytes.
    TooSmall(usize),
    Failed(String),
}

impl From<EncodeError> for Unwritten {
    fn from(error: EncodeError) -> Self {
        match error {
            EncodeError::InsufficientSize(needed) => Self::TooSmall(needed.required_size),
            error => Self::Failed(error.to_string()),
        }
    }
}

impl From<EncryptError> for Unwritten {
    fn from(error: EncryptError) -> Self {
        match error {
            EncryptError::InsufficientSize(needed) => Self::TooSmall(needed.required_size),
            error => Self::Failed(error.to_string()),
        }
    }
}

/// Appends what the library writes into the space that it is given: `estimate` bytes first, then what it says it needs.
fn append<E: Into<Unwritten>>(
    output: &mut BytesMut,
    estimate: usize,
    mut write: impl FnMut(&mut [u8]) -> Result<usize, E>,
) -> Result<(), Cause> {
    let at = output.len();
    let mut space = estimate;
    loop {
        output.resize(at + space, 0);
        match write(&mut output[at..]).map_err(Into::into) {
            Ok(len) => {
                output.truncate(at + len);
                return Ok(());
            }
            Err(Unwritten::TooSmall(needed)) if needed > space => space = needed,
            Err(unwritten) => {
                output.truncate(at);
                let why = match unwritten {
                    Unwritten::TooSmall(needed) => format!("{needed} bytes were not enough to write"),
                    Unwritten::Failed(why) => why,
                };
                return Err(Cause::Library(rustls::Error::General(why)));
            }
        }
    }
}
