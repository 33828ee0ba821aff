//! MQTT over WebSocket (section 6 of MQTT 3.1.1): binary messages whose borders mean nothing.

use super::{Socket, failed};
use crate::error::{Step, TransportError};
use crate::options::Options;
use bytes::BytesMut;
use futures_util::{Sink, Stream};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::{ClientRequestBuilder, IntoClientRequest};
use tokio_tungstenite::tungstenite::error::{Error, ProtocolError, SubProtocolError};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Message, http};

/// The least limit of one WebSocket message: it may hold many small packets.
const MESSAGE_LEN_MIN: usize = 1 << 20;

/// Upgrades the connection; gives back the subprotocol that the server selected.
pub(super) async fn upgrade(
    options: &Options,
    socket: Socket,
    protocols: &[&str],
) -> Result<(WebSocketStream<Socket>, Option<String>), TransportError> {
    let address = &options.address;
    let wrong = |cause: String| failed(Step::WebSocket, address, &cause);
    let uri: http::Uri = address.to_string().parse().map_err(|error| wrong(format!("`{address}`: {error}")))?;
    let mut builder = ClientRequestBuilder::new(uri);
    for protocol in protocols {
        builder = builder.with_sub_protocol(*protocol);
    }
    let request = builder.into_client_request().map_err(|error| wrong(error.to_string()))?;
    let limit = usize::try_from(options.packet_size_max).unwrap_or(usize::MAX).max(MESSAGE_LEN_MIN);
    let config = WebSocketConfig::default().max_message_size(Some(limit)).max_frame_size(Some(limit)).write_buffer_size(0);
    match tokio_tungstenite::client_async_with_config(request, socket, Some(config)).await {
        Ok((stream, response)) => {
            let selected = response.headers().get("Sec-WebSocket-Protocol").and_then(|value| value.to_str().ok());
            Ok((stream, selected.map(str::to_owned)))
        }
        Err(Error::Protocol(ProtocolError::SecWebSocketSubProtocolError(SubProtocolError::NoSubProtocol))) => {
            let asked = protocols.join(", ");
            Err(wrong(format!("the server selected none of the subprotocols {asked}, so it does not speak MQTT [MQTT-6.0.0-4]")))
        }
        Err(Error::Http(response)) => {
            Err(wrong(format!("the server answered {} to {}; is the path right?", response.status(), address.path())))
        }
        Err(error) => Err(wrong(error.to_string())),
    }
}

fn io_error(error: Error) -> io::Error {
    match error {
        Error::Io(error) => error,
        other => io::Error::other(other.to_string()),
    }
}

/// Hands all of `outbox` down as one message; tells how many bytes those were.
pub(super) fn poll_send(stream: &mut WebSocketStream<Socket>, cx: &mut Context<'_>, outbox: &mut BytesMut) -> io::Result<Poll<usize>> {
    match Pin::new(&mut *stream).poll_ready(cx) {
        Poll::Pending => return Ok(Poll::Pending),
        Poll::Ready(ready) => ready.map_err(io_error)?,
    }
    let bytes = outbox.split().freeze();
    let len = bytes.len();
    Pin::new(stream).start_send(Message::Binary(bytes)).map_err(io_error)?;
    Ok(Poll::Ready(len))
}

pub(super) fn poll_flush(stream: &mut WebSocketStream<Socket>, cx: &mut Context<'_>) -> io::Result<Poll<()>> {
    match Pin::new(stream).poll_flush(cx) {
        Poll::Pending => Ok(Poll::Pending),
        Poll::Ready(flushed) => flushed.map(Poll::Ready).map_err(io_error),
    }
}

/// Takes the next message that holds bytes; 0 is the end.
pub(super) fn poll_receive(stream: &mut WebSocketStream<Socket>, cx: &mut Context<'_>, inbox: &mut BytesMut) -> io::Result<Poll<usize>> {
    loop {
        match Pin::new(&mut *stream).poll_next(cx) {
            Poll::Pending => return Ok(Poll::Pending),
            Poll::Ready(None | Some(Ok(Message::Close(_)))) => return Ok(Poll::Ready(0)),
            Poll::Ready(Some(Ok(Message::Binary(bytes)))) if bytes.is_empty() => {}
            Poll::Ready(Some(Ok(Message::Binary(bytes)))) => {
                inbox.extend_from_slice(&bytes);
                return Ok(Poll::Ready(bytes.len()));
            }
            // Pings are answered by the library; a text frame is a violation [MQTT-6.0.0-1].
            Poll::Ready(Some(Ok(Message::Text(_)))) => {
                return Err(io::Error::other("the server sent a WebSocket text frame; MQTT is binary [MQTT-6.0.0-1]"));
            }
            Poll::Ready(Some(Ok(_))) => {}
            Poll::Ready(Some(Err(Error::ConnectionClosed | Error::AlreadyClosed))) => return Ok(Poll::Ready(0)),
            Poll::Ready(Some(Err(Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)))) => return Ok(Poll::Ready(0)),
            Poll::Ready(Some(Err(error))) => return Err(io_error(error)),
        }
    }
}

pub(super) fn poll_close(stream: &mut WebSocketStream<Socket>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
    Pin::new(stream).poll_close(cx).map_err(io_error)
}
