//! What a server accepts connections over: TCP, TLS and WebSocket.

use candor_client::TlsOptions;
use futures_util::{Sink, Stream};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WantsServerCert;
use rustls::server::WebPkiClientVerifier;
use rustls::{ConfigBuilder, RootCertStore, ServerConfig, WantsVerifier};
use std::future::poll_fn;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};

/// A certificate for `localhost`, in a file of its own.
#[derive(Clone)]
pub struct Certificates {
    file: Arc<PemFile>,
}

/// A client's certificate and key, in files.
pub struct Identity {
    chain: PemFile,
    key: PemFile,
}

impl Identity {
    pub fn paths(&self) -> (PathBuf, PathBuf) {
        (self.chain.0.clone(), self.key.0.clone())
    }
}

/// A file that goes with its owner.
struct PemFile(PathBuf);

impl PemFile {
    fn new(pem: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("candor-test-{}-{number}.pem", std::process::id()));
        std::fs::write(&path, pem).unwrap();
        Self(path)
    }
}

impl Drop for PemFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

impl Certificates {
    /// Those of somebody who has signed nothing here.
    pub fn stranger() -> Self {
        let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, "a stranger");
        let made = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
        Self { file: Arc::new(PemFile::new(&made.pem())) }
    }

    pub fn path(&self) -> PathBuf {
        self.file.0.clone()
    }

    pub fn client_options(&self) -> TlsOptions {
        TlsOptions { ca_file: Some(self.path()), ..TlsOptions::default() }
    }
}

#[derive(Clone)]
pub struct Transport {
    tls: Option<TlsAcceptor>,
    pub certificates: Option<Certificates>,
    /// The subprotocols that the server knows, if it speaks WebSocket.
    websocket: Option<Vec<&'static str>>,
}

pub trait Io: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

impl Transport {
    pub fn tcp() -> Self {
        Self { tls: None, certificates: None, websocket: None }
    }

    /// TLS that knows these protocol ids.
    pub fn tls(alpn: &[&str]) -> Self {
        Self::tls_with(alpn, |builder| builder.with_no_client_auth())
    }

    /// TLS for the client with the identity that is given back, and for no other.
    pub fn tls_for_one_client(alpn: &[&str]) -> (Self, Identity) {
        let made = rcgen::generate_simple_self_signed(vec!["device-1".to_owned()]).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
        let identity = Identity { chain: PemFile::new(&made.cert.pem()), key: PemFile::new(&made.signing_key.serialize_pem()) };
        (Self::tls_with(alpn, |builder| builder.with_client_cert_verifier(verifier)), identity)
    }

    fn tls_with(
        alpn: &[&str],
        clients: impl FnOnce(ConfigBuilder<ServerConfig, WantsVerifier>) -> ConfigBuilder<ServerConfig, WantsServerCert>,
    ) -> Self {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let mut config = clients(builder).with_single_cert(vec![made.cert.der().clone()], key).unwrap();
        config.alpn_protocols = alpn.iter().map(|id| id.as_bytes().to_vec()).collect();
        let certificates = Certificates { file: Arc::new(PemFile::new(&made.cert.pem())) };
        Self { tls: Some(TlsAcceptor::from(Arc::new(config))), certificates: Some(certificates), websocket: None }
    }

    /// WebSocket over this, with these subprotocols.
    pub fn websocket(mut self, subprotocols: &[&'static str]) -> Self {
        self.websocket = Some(subprotocols.to_vec());
        self
    }

    pub fn scheme(&self) -> &'static str {
        match (&self.tls, &self.websocket) {
            (None, None) => "mqtt",
            (Some(_), None) => "mqtts",
            (None, Some(_)) => "ws",
            (Some(_), Some(_)) => "wss",
        }
    }

    /// The handshakes below MQTT; `None`: they failed, which is the client's to tell.
    pub async fn accept(&self, tcp: TcpStream) -> Option<Box<dyn Io>> {
        tcp.set_nodelay(true).ok()?;
        let stream: Box<dyn Io> = match &self.tls {
            None => Box::new(tcp),
            Some(acceptor) => Box::new(acceptor.accept(tcp).await.ok()?),
        };
        match &self.websocket {
            None => Some(stream),
            Some(subprotocols) => Some(Box::new(upgrade(stream, subprotocols.clone()).await?)),
        }
    }
}

// The shape is the library's.
#[allow(clippy::result_large_err)]
async fn upgrade(stream: Box<dyn Io>, known: Vec<&'static str>) -> Option<DuplexStream> {
    let choose = move |request: &Request, mut response: Response| {
        let asked = request.headers().get("Sec-WebSocket-Protocol").and_then(|value| value.to_str().ok()).unwrap_or_default();
        let chosen = known.iter().find(|id| asked.split(',').any(|asked| asked.trim() == **id));
        if let Some(id) = chosen {
            response.headers_mut().insert("Sec-WebSocket-Protocol", id.parse().unwrap());
        }
        Ok(response)
    };
    let socket = tokio_tungstenite::accept_hdr_async(stream, choose).await.ok()?;
    let (near, far) = tokio::io::duplex(1 << 20);
    tokio::spawn(bridge(socket, far));
    Some(near)
}

/// Carries bytes between a WebSocket and a stream, in messages whose borders are as unlucky as can be.
async fn bridge(mut socket: WebSocketStream<Box<dyn Io>>, mut far: DuplexStream) {
    let mut buffer = [0; 7];
    loop {
        tokio::select! {
            read = far.read(&mut buffer) => {
                let len = read.unwrap_or(0);
                if len == 0 {
                    return close(&mut socket).await;
                }
                if !send(&mut socket, &buffer[..len]).await {
                    return;
                }
            }
            message = receive(&mut socket) => match message {
                Some(Message::Binary(bytes)) => if far.write_all(&bytes).await.is_err() {
                    return;
                },
                Some(Message::Close(_)) | None => return,
                Some(_) => {}
            },
        }
    }
}

async fn send(socket: &mut WebSocketStream<Box<dyn Io>>, bytes: &[u8]) -> bool {
    let message = Message::Binary(bytes::Bytes::copy_from_slice(bytes));
    poll_fn(|cx| Pin::new(&mut *socket).poll_ready(cx)).await.is_ok()
        && Pin::new(&mut *socket).start_send(message).is_ok()
        && poll_fn(|cx| Pin::new(&mut *socket).poll_flush(cx)).await.is_ok()
}

async fn receive(socket: &mut WebSocketStream<Box<dyn Io>>) -> Option<Message> {
    poll_fn(|cx| Pin::new(&mut *socket).poll_next(cx)).await?.ok()
}

async fn close(socket: &mut WebSocketStream<Box<dyn Io>>) {
    let _ = poll_fn(|cx| Pin::new(&mut *socket).poll_close(cx)).await;
}
