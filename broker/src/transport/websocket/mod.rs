//! MQTT over WebSocket (MQTT 3.1.1, section 6; RFC 6455), server side.
//!
//! The opening request is parsed and answered with the library's parts (`upgrade`). Frames are read by `frame`
//! rather than by the library's own stream: that one keeps whole frames, and a read buffer for each connection, while
//! MQTT needs neither.

mod frame;
mod upgrade;

pub use frame::BadFrame;
pub use upgrade::BadUpgrade;

use super::detect::detect;
use super::error::TransportError;
use super::url::Scheme;
use super::{Limits, Progress};
use bytes::BytesMut;
use frame::{FrameReader, Reading};
use std::sync::Arc;
use tungstenite::protocol::frame::coding::CloseCode;
use upgrade::{RequestReader, Subprotocol};

/// A ping is answered while no more bytes than this wait for the socket. A peer that pings on and does not read would
/// otherwise make the output grow without end.
const PONG_BACKLOG_MAX: usize = 64 * 1024;

/// A WebSocket connection's state.
///
/// ```text
/// Opening --request--> Open --close, or the peer's close frame--> Closing --peer's close frame--> Closed
///    '------------------'------------- an error, or both close frames --------------------------->-'
/// ```
#[derive(Debug)]
pub(super) struct WebSocket {
    /// What lies below, for telling a mismatch apart.
    scheme: Scheme,
    limits: Limits,
    subprotocol: Option<Subprotocol>,
    phase: Phase,
}

#[derive(Debug)]
enum Phase {
    Opening(RequestReader),
    Open(FrameReader),
    /// Our close frame is sent; the peer's data may still come.
    Closing(FrameReader),
    Closed,
}

impl WebSocket {
    pub(super) fn new(scheme: Scheme, limits: Limits) -> Self {
        Self { scheme, limits, subprotocol: None, phase: Phase::Opening(RequestReader::default()) }
    }

    /// Only requests for this path open it.
    pub(super) fn serve_at(&mut self, path: &Arc<str>) {
        if let Phase::Opening(request) = &mut self.phase {
            request.serve_at(path);
        }
    }

    pub(super) fn is_handshaking(&self) -> bool {
        matches!(self.phase, Phase::Opening(_))
    }

    /// Whether the extended dialect's subprotocol was selected.
    pub(super) fn is_extended(&self) -> bool {
        self.subprotocol == Some(Subprotocol::Extended)
    }

    /// See [`super::Transport::receive`]; `waiting` is how many bytes wait for the socket already.
    pub(super) fn receive(
        &mut self,
        input: &mut BytesMut,
        mqtt: &mut BytesMut,
        output: &mut BytesMut,
        waiting: usize,
    ) -> Result<Progress, TransportError> {
        let outcome = self.advance(input, mqtt, output, waiting);
        if outcome.is_err() {
            self.phase = Phase::Closed;
        }
        if matches!(self.phase, Phase::Closed) {
            input.clear();
        }
        outcome
    }

    fn advance(
        &mut self,
        input: &mut BytesMut,
        mqtt: &mut BytesMut,
        output: &mut BytesMut,
        waiting: usize,
    ) -> Result<Progress, TransportError> {
        if let Phase::Opening(request) = &mut self.phase {
            // Told before an HTTP answer is made, which only an HTTP client could read.
            if let Some(mismatch) = detect(Scheme::Ws, input) {
                return Err(super::detect::Mismatch { listener: self.scheme, ..mismatch }.into());
            }
            let Some((len, subprotocol)) = request.read(input, self.limits.upgrade_request_bytes_max, output)? else {
                return Ok(Progress::Handshaking);
            };
            // Frames that a client sent without waiting for the answer are taken: they do no harm here.
            let _ = input.split_to(len);
            self.subprotocol = Some(subprotocol);
            self.phase = Phase::Open(FrameReader::default());
        }
        let (frames, may_answer) = match &mut self.phase {
            Phase::Open(frames) => (frames, true),
            Phase::Closing(frames) => (frames, false),
            Phase::Opening(_) | Phase::Closed => return Ok(Progress::PeerClosed),
        };
        match frames.read(input, mqtt, self.limits.frame_bytes_max) {
            Ok(Reading::More { ping }) => {
                match ping {
                    Some(payload) if may_answer && waiting <= PONG_BACKLOG_MAX => frame::write_pong(&payload, output),
                    _ => {}
                }
                Ok(Progress::Open)
            }
            Ok(Reading::Closed(code)) => {
                if may_answer {
                    frame::write_close(code, "", output);
                }
                self.phase = Phase::Closed;
                Ok(Progress::PeerClosed)
            }
            Err(bad) => {
                if may_answer {
                    frame::write_close_for(bad, output);
                }
                Err(bad.into())
            }
        }
    }

    /// Appends one binary frame with all of `mqtt`; nothing while the WebSocket is not open yet.
    pub(super) fn send(&mut self, mqtt: &mut BytesMut, output: &mut BytesMut) -> Result<(), TransportError> {
        match self.phase {
            Phase::Opening(_) => Ok(()),
            _ if mqtt.is_empty() => Ok(()),
            Phase::Open(_) => {
                frame::write_binary(mqtt, output);
                mqtt.clear();
                Ok(())
            }
            Phase::Closing(_) | Phase::Closed => Err(TransportError::Closed),
        }
    }

    /// Appends a close frame, once; nothing while the WebSocket is not open yet.
    pub(super) fn close(&mut self, output: &mut BytesMut) {
        self.phase = match std::mem::replace(&mut self.phase, Phase::Closed) {
            Phase::Open(frames) => {
                frame::write_close(Some(CloseCode::Normal), "", output);
                Phase::Closing(frames)
            }
            Phase::Closing(frames) => Phase::Closing(frames),
            Phase::Opening(_) | Phase::Closed => Phase::Closed,
        };
    }
}
