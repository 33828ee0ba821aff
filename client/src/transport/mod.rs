//! Bytes to and from a server: TCP, TLS over it, WebSocket over either.

mod tls;
mod websocket;

pub use tls::TlsFacts;
#[cfg(all(feature = "cli", target_os = "linux"))]
pub(crate) use tls::make_config as tls_config;

use crate::address::Address;
use crate::error::{Step, TransportError};
use crate::options::Options;
use bytes::{Buf, BytesMut};
use candor_protocol::dialect::{ALPN, ALPN_PLAIN};
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;

/// The most bytes that one turn reads, and the room that is made for them.
const READ_LEN: usize = 64 * 1024;

/// How long a closed connection is read on.
const READ_ON: Duration = Duration::from_secs(1);

/// What the handshakes below MQTT ended in.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct TransportFacts {
    pub(crate) tls: Option<TlsFacts>,
    /// The WebSocket subprotocol, or else the ALPN protocol id, that the server selected.
    pub(crate) selected: Option<String>,
}

impl TransportFacts {
    /// Whether the server has proved who it is.
    pub(crate) fn is_verified(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.verified)
    }

    /// Whether the handshake already selected the extension.
    pub(crate) fn selected_extension(&self) -> bool {
        self.selected.as_deref() == Some(ALPN)
    }
}

/// TCP, with or without TLS.
#[derive(Debug)]
pub(crate) enum Socket {
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

#[derive(Debug)]
enum Stream {
    Bytes(Socket),
    Messages(Box<WebSocketStream<Socket>>),
}

/// What one turn moved.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    /// Bytes that the operating system took.
    pub(crate) written: usize,
    pub(crate) read: usize,
    /// The server closed its side, or the transport failed.
    pub(crate) ended: bool,
    pub(crate) error: Option<io::Error>,
}

/// A connection below MQTT.
#[derive(Debug)]
pub(crate) struct Wire {
    stream: Stream,
    /// Bytes that were handed down and not flushed yet.
    unflushed: usize,
}

/// Connects to the options' server; `extended`: the extension's ids are named to it. All steps together take `timeout` at most.
pub(crate) async fn dial(options: &Options, extended: bool, until: Instant) -> Result<(Wire, TransportFacts), TransportError> {
    let protocols: &[&str] = if extended { &[ALPN, ALPN_PLAIN] } else { &[ALPN_PLAIN] };
    let mut step = Step::Resolve;
    let dialing = dial_steps(options, protocols, &mut step);
    match tokio::time::timeout_at(until, dialing).await {
        Ok(result) => result,
        Err(_) => {
            let cause = format!("not done within {} ms", options.connect_timeout.as_millis());
            Err(TransportError { step, server: options.address.clone(), cause })
        }
    }
}

async fn dial_steps(options: &Options, protocols: &[&str], step: &mut Step) -> Result<(Wire, TransportFacts), TransportError> {
    let address = &options.address;
    let tcp = connect(address, step).await?;
    // Small packets must not wait for more ([RFC 896]'s delay); set before the handshakes, which are small packets too.
    tcp.set_nodelay(true).map_err(|error| failed(Step::Connect, address, &error))?;
    let mut facts = TransportFacts::default();
    let socket = if address.scheme().is_tls() {
        *step = Step::Tls;
        let (stream, tls) = tls::handshake(options, tcp, protocols).await?;
        facts.selected.clone_from(&tls.alpn);
        facts.tls = Some(tls);
        Socket::Tls(Box::new(stream))
    } else {
        Socket::Tcp(tcp)
    };
    if !address.scheme().is_websocket() {
        return Ok((Wire { stream: Stream::Bytes(socket), unflushed: 0 }, facts));
    }
    *step = Step::WebSocket;
    let (stream, subprotocol) = websocket::upgrade(options, socket, protocols).await?;
    facts.selected = subprotocol;
    Ok((Wire { stream: Stream::Messages(Box::new(stream)), unflushed: 0 }, facts))
}

/// Tries every address of the name; the last failure is told.
async fn connect(address: &Address, step: &mut Step) -> Result<TcpStream, TransportError> {
    let host = (address.host(), address.port());
    let found = tokio::net::lookup_host(host).await.map_err(|error| failed(Step::Resolve, address, &error))?;
    *step = Step::Connect;
    let mut last = failed(Step::Resolve, address, &"no address");
    for candidate in found {
        match TcpStream::connect(candidate).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = failed(Step::Connect, address, &error),
        }
    }
    Err(last)
}

pub(crate) fn failed(step: Step, address: &Address, cause: &dyn std::fmt::Display) -> TransportError {
    TransportError { step, server: address.clone(), cause: cause.to_string() }
}

impl Wire {
    /// Moves bytes both ways: waits until something moved, then takes all that goes without waiting. `listen`: read too.
    /// It may be dropped at any await.
    pub(crate) async fn turn(&mut self, inbox: &mut BytesMut, outbox: &mut BytesMut, listen: bool) -> Turn {
        poll_fn(|cx| {
            let mut turn = Turn::default();
            // Read first: a server that closes says why before, and a write to it destroys what was not read.
            let read = if listen { self.poll_read(cx, inbox, &mut turn) } else { Ok(()) };
            if let Err(error) = read.and_then(|()| self.poll_write(cx, outbox, &mut turn)) {
                turn.ended = true;
                turn.error = Some(error);
            }
            if turn.read + turn.written == 0 && !turn.ended { Poll::Pending } else { Poll::Ready(turn) }
        })
        .await
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, outbox: &mut BytesMut, turn: &mut Turn) -> io::Result<()> {
        while !outbox.is_empty() {
            let handed = match &mut self.stream {
                Stream::Bytes(socket) => match Pin::new(socket).poll_write(cx, outbox)? {
                    Poll::Ready(0) => return Err(io::ErrorKind::WriteZero.into()),
                    Poll::Ready(written) => {
                        outbox.advance(written);
                        written
                    }
                    Poll::Pending => break,
                },
                Stream::Messages(stream) => match websocket::poll_send(stream, cx, outbox)? {
                    Poll::Ready(written) => written,
                    Poll::Pending => break,
                },
            };
            self.unflushed += handed;
        }
        if self.unflushed > 0 {
            let flushed = match &mut self.stream {
                Stream::Bytes(socket) => Pin::new(socket).poll_flush(cx)?,
                Stream::Messages(stream) => websocket::poll_flush(stream, cx)?,
            };
            if flushed.is_ready() {
                turn.written += std::mem::take(&mut self.unflushed);
            }
        }
        Ok(())
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, inbox: &mut BytesMut, turn: &mut Turn) -> io::Result<()> {
        while turn.read < READ_LEN && !turn.ended {
            let read = match &mut self.stream {
                Stream::Bytes(socket) => {
                    inbox.reserve(READ_LEN - turn.read);
                    pin!(socket.read_buf(inbox)).poll(cx)?
                }
                Stream::Messages(stream) => websocket::poll_receive(stream, cx, inbox)?,
            };
            match read {
                Poll::Ready(0) => turn.ended = true,
                Poll::Ready(read) => turn.read += read,
                Poll::Pending => break,
            }
        }
        Ok(())
    }

    /// A deliberate close: writes what is owed, shuts down writing, then reads on for a bounded time and amount, so that what
    /// was said last is not erased by a reset. Tells whether all was written `within` the time for it.
    pub(crate) async fn close(mut self, mut outbox: BytesMut, within: Duration) -> bool {
        let mut inbox = BytesMut::new();
        let writing = async {
            while !outbox.is_empty() || self.unflushed > 0 {
                let turn = self.turn(&mut inbox, &mut outbox, false).await;
                turn.error.map_or(Ok(()), Err)?;
            }
            io::Result::Ok(())
        };
        let all_written = matches!(tokio::time::timeout(within, writing).await, Ok(Ok(())));
        if all_written {
            // Nobody waits for the outcome: the session has said all that it knows.
            let _ = tokio::time::timeout(READ_ON, self.read_on()).await;
        }
        all_written
    }

    async fn read_on(&mut self) {
        let shutdown = poll_fn(|cx| match &mut self.stream {
            Stream::Bytes(socket) => Pin::new(socket).poll_shutdown(cx),
            Stream::Messages(stream) => websocket::poll_close(stream, cx),
        });
        if shutdown.await.is_err() {
            return;
        }
        let (mut inbox, mut outbox) = (BytesMut::new(), BytesMut::new());
        let mut left = 16 * READ_LEN;
        while left > 0 {
            inbox.clear();
            let turn = self.turn(&mut inbox, &mut outbox, true).await;
            if turn.ended {
                return;
            }
            left = left.saturating_sub(turn.read);
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Socket::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Socket::Tls(stream) => match ready!(Pin::new(stream).poll_read(cx, buf)) {
                // Many servers close without TLS's own farewell; MQTT has one of its own.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Poll::Ready(Ok(())),
                other => Poll::Ready(other),
            },
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Socket::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Socket::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Socket::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Socket::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Socket::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Socket::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
