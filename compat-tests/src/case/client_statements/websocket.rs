//! Section 6 from the server's side.

use super::Duel;
use crate::ensure;
use crate::outcome::{Checked, Stop};
use crate::peer::Feature;
use crate::peer::recipe::Transport;
use crate::wire::packet;
use crate::wire::{patience, split_packets};
use std::net::TcpStream;
use tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tungstenite::{Bytes, Message, WebSocket};

/// A client that connects by WebSocket, and the server's end with the subprotocols it offered.
fn upgraded(duel: &Duel) -> Checked<(crate::client::Actor, WebSocket<TcpStream>, String)> {
    duel.needs(Feature::WebSocket)?;
    let mut actor = duel.actor()?;
    let mut options = duel.options();
    options.transport = Transport::WebSocket;
    actor.start_connect(&options)?;
    let socket = duel.accept()?.into_socket();
    socket.set_read_timeout(Some(patience()))?;
    let mut offered = String::new();
    // The size of an error response is the library's.
    #[allow(clippy::result_large_err)]
    let answer = |request: &Request, mut response: Response| -> Result<Response, ErrorResponse> {
        let fields = request.headers().get_all("Sec-WebSocket-Protocol").iter();
        offered = fields.filter_map(|field| field.to_str().ok()).collect::<Vec<_>>().join(",");
        response.headers_mut().insert("Sec-WebSocket-Protocol", tungstenite::http::HeaderValue::from_static("mqtt"));
        Ok(response)
    };
    let server = tungstenite::accept_hdr(socket, answer).map_err(|error| Stop::failed(format!("WebSocket handshake: {error}")))?;
    Ok((actor, server, offered))
}

/// The next packets, from as many binary frames as they take.
fn packets(server: &mut WebSocket<TcpStream>) -> Checked<Vec<Vec<u8>>> {
    let mut bytes = vec![];
    loop {
        match server.read().map_err(|error| Stop::failed(format!("WebSocket: {error}")))? {
            Message::Binary(payload) => bytes.extend_from_slice(&payload),
            Message::Ping(_) | Message::Pong(_) => continue,
            other => return Err(Stop::failed(format!("the client sent {other:?}, which is not a binary frame"))),
        }
        if let Ok(packets) = split_packets(&bytes) {
            return Ok(packets);
        }
    }
}

fn send(server: &mut WebSocket<TcpStream>, message: Message) -> Checked {
    server.send(message).map_err(|error| Stop::failed(format!("WebSocket: {error}")))
}

fn binary(bytes: &[u8]) -> Message {
    Message::Binary(Bytes::copy_from_slice(bytes))
}

pub(super) fn the_subprotocol_mqtt_is_offered(duel: &Duel) -> Checked {
    let (_actor, mut server, offered) = upgraded(duel)?;
    ensure!(offered.split(',').any(|id| id.trim() == "mqtt"), "the subprotocols offered are {offered:?}");
    let seen = packets(&mut server)?;
    ensure!(seen.len() == 1 && seen[0][0] == 0x10, "expected CONNECT in binary frames, got {seen:02x?}");
    Ok(())
}

pub(super) fn packets_need_not_fit_frames(duel: &Duel) -> Checked {
    let (mut actor, mut server, _) = upgraded(duel)?;
    packets(&mut server)?;
    for byte in packet::connack(false, 0) {
        send(&mut server, binary(&[byte]))?;
    }
    actor.connected()?;
    let two = [packet::publish(duel.topic(), "first", 0, 0), packet::publish(duel.topic(), "second", 0, 0)].concat();
    let (front, back) = two.split_at(5);
    send(&mut server, binary(front))?;
    send(&mut server, binary(back))?;
    actor.expect(&duel.topic(), "first")?;
    actor.expect(&duel.topic(), "second").map(|_| ())
}

pub(super) fn a_text_frame_closes(duel: &Duel) -> Checked {
    let (mut actor, mut server, _) = upgraded(duel)?;
    packets(&mut server)?;
    send(&mut server, binary(&packet::connack(false, 0)))?;
    actor.connected()?;
    // Its bytes are a packet, in a frame of the wrong kind.
    send(&mut server, Message::text("0\u{3}\0\u{1}a"))?;
    actor.closed().map(|_| ())
}
