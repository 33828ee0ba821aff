//! What idle connections cost, measured: alone in its process, since memory is the process's.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

#[path = "support/resident.rs"]
mod resident;

use bytes::BytesMut;
use candor_broker::transport::{Limits, Scheme, TlsSettings, Transport, development};
use resident::resident_bytes;
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use std::sync::Arc;

const CONNECTIONS: usize = 1000;
const REQUEST: &[u8] = b"GET /mqtt HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n";
const PINGREQ: &[u8] = b"\xC0\x00";
const MASKED_PINGREQ: &[u8] = b"\x82\x82\0\0\0\0\xC0\x00";

/// A connection that has been opened and has carried a packet each way; its client is gone.
fn idle(scheme: Scheme, settings: &TlsSettings, client: &Arc<ClientConfig>) -> Transport {
    let mut server = Transport::accept(scheme, Some(settings), Limits::DEFAULT).unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let mut tls = scheme.is_tls().then(|| ClientConnection::new(Arc::clone(client), name).unwrap());
    let (mut input, mut mqtt, mut output) = (BytesMut::new(), BytesMut::new(), BytesMut::new());
    let parts: &[&[u8]] = if scheme.is_websocket() { &[REQUEST, MASKED_PINGREQ] } else { &[PINGREQ] };
    for part in parts {
        match &mut tls {
            None => input.extend_from_slice(part),
            Some(tls) => std::io::Write::write_all(&mut tls.writer(), part).unwrap(),
        }
        loop {
            if let Some(tls) = &mut tls {
                let mut bytes = Vec::new();
                while tls.wants_write() {
                    tls.write_tls(&mut bytes).unwrap();
                }
                input.extend_from_slice(&bytes);
            }
            if input.is_empty() {
                break;
            }
            server.receive(&mut input, &mut mqtt, &mut output).unwrap();
            let answer = output.split();
            if let Some(tls) = &mut tls {
                tls.read_tls(&mut &answer[..]).unwrap();
                tls.process_new_packets().unwrap();
            }
        }
    }
    assert_eq!(&mqtt[..], PINGREQ);
    server.send(&mut mqtt, &mut output).unwrap();
    assert!(!server.is_handshaking());
    server
}

#[test]
fn idle_connections_are_cheap() {
    let directory = std::env::temp_dir().join(format!("candor-transport-memory-{}", std::process::id()));
    let certificate = development::prepare(&directory, &[], std::time::SystemTime::now()).unwrap();
    let settings = TlsSettings::load(certificate.options()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&certificate.ca).unwrap()).unwrap();
    std::fs::remove_dir_all(&directory).unwrap();
    let mut client = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    client.resumption = rustls::client::Resumption::disabled();
    let client = Arc::new(client);

    for (scheme, bytes_max) in [(Scheme::Ws, 1024), (Scheme::Mqtts, 8 * 1024), (Scheme::Wss, 8 * 1024)] {
        // What the first connections leave in the allocator is nobody's.
        drop((0..50).map(|_| idle(scheme, &settings, &client)).collect::<Vec<_>>());
        let before = resident_bytes();
        let connections: Vec<Transport> = (0..CONNECTIONS).map(|_| idle(scheme, &settings, &client)).collect();
        let each = resident_bytes().saturating_sub(before) / CONNECTIONS;
        println!("{scheme}: {each} bytes resident for each of {} idle connections", connections.len());
        assert!(each <= bytes_max, "{scheme}: {each} bytes each");
        // Told as still in use, so that the next scheme begins with no memory to fill again.
        std::mem::forget(connections);
    }
}
