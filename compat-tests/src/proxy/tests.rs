use super::*;
use crate::peer::identity::{Identity, client_config};
use crate::wire::packet::{self, Connect, PUBACK};
use crate::wire::{Listener, Wire};
use std::time::Duration;

/// A client and a server that speak through a proxy.
fn through(faults: Vec<Fault>) -> (Proxy, Listener, Wire, Wire) {
    let listener = Listener::bind("server").unwrap();
    let proxy = Proxy::start(listener.address(), faults).unwrap();
    let client = Wire::connect(proxy.address(), "client").unwrap();
    let server = listener.accept().unwrap();
    (proxy, listener, client, server)
}

fn unsuback(behind: &[u8]) -> Vec<u8> {
    packet::packet(0xB0, &[&[0xFF, 0xFF], behind].concat())
}

#[test]
fn without_a_fault_everything_passes_and_is_recorded() {
    let (proxy, _listener, mut client, mut server) = through(vec![]);
    let large = packet::publish("t", vec![3; 1 << 20], 0, 0);
    client.send(&large).unwrap();
    server.expect(&large).unwrap();
    server.send(packet::PINGRESP).unwrap();
    client.expect(packet::PINGRESP).unwrap();
    assert_eq!(proxy.saw(0, Side::Client, 3).unwrap(), large);
    assert_eq!(proxy.packets(0, Side::Server), [packet::PINGRESP]);
    drop(client);
    server.expect_close().unwrap();
    proxy.ended(0).unwrap();
}

#[test]
fn a_connection_is_cut_after_a_byte() {
    let (_proxy, _listener, mut client, mut server) = through(vec![Fault::CutAfterBytes { from: Side::Client, count: 3 }]);
    client.send(packet::ack(PUBACK, 7)).unwrap();
    client.expect_close().unwrap();
    // Three bytes of the four came: no whole packet.
    server.expect_close().unwrap();
}

#[test]
fn a_connection_is_cut_after_a_packet_and_the_next_one_is_whole() {
    let (proxy, listener, mut client, mut server) = through(vec![Fault::CutAfterPackets { from: Side::Server, count: 2 }]);
    for _ in 0..3 {
        server.send(packet::PINGRESP).unwrap();
    }
    client.expect(packet::PINGRESP).unwrap();
    client.expect(packet::PINGRESP).unwrap();
    client.expect_close().unwrap();
    proxy.ended(0).unwrap();
    let mut again = Wire::connect(proxy.address(), "again").unwrap();
    let mut server = listener.accept().unwrap();
    again.send(packet::PINGREQ).unwrap();
    server.expect(packet::PINGREQ).unwrap();
}

#[test]
fn a_cut_is_before_or_after_the_packet_of_a_type() {
    let (_proxy, _listener, mut client, mut server) = through(vec![Fault::CutAfter { from: Side::Server, kind: 4 }]);
    server.send(packet::PINGRESP).unwrap();
    server.send(packet::ack(PUBACK, 1)).unwrap();
    client.expect(packet::PINGRESP).unwrap();
    client.expect(packet::ack(PUBACK, 1)).unwrap();
    client.expect_close().unwrap();
    let (_proxy, _listener, mut client, mut server) = through(vec![Fault::CutBefore { from: Side::Server, kind: 4 }]);
    server.send(packet::PINGRESP).unwrap();
    server.send(packet::ack(PUBACK, 1)).unwrap();
    client.expect(packet::PINGRESP).unwrap();
    client.expect_close().unwrap();
}

#[test]
fn one_side_is_delayed_or_falls_silent() {
    let (_proxy, _listener, mut client, mut server) = through(vec![Fault::Delay { from: Side::Client, by_ms: 50 }]);
    let since = std::time::Instant::now();
    client.send(packet::PINGREQ).unwrap();
    server.expect(packet::PINGREQ).unwrap();
    assert!(since.elapsed() >= Duration::from_millis(50));
    let (proxy, _listener, mut client, mut server) = through(vec![Fault::Stall { from: Side::Server, kind: 4 }]);
    server.send(packet::PINGRESP).unwrap();
    server.send(packet::ack(PUBACK, 1)).unwrap();
    server.send(packet::PINGRESP).unwrap();
    client.expect(packet::PINGRESP).unwrap();
    proxy.saw(0, Side::Server, 4).unwrap();
    assert!(client.expect_close_within(Duration::from_millis(20)).is_err());
}

#[test]
fn an_unsuback_is_dropped_shortened_stripped_or_forged() {
    for (fault, expected) in [
        (Fault::DropUnsubAck, None),
        (Fault::ShortenUnsubAck { keep: 2 }, Some(unsuback(&[1, 2]))),
        (Fault::ShortenUnsubAck { keep: 0 }, Some(packet::ack(0xB0, 0xFFFF))),
        (Fault::ForgeUnsubAck { behind: vec![9] }, Some(unsuback(&[9]))),
    ] {
        let (_proxy, _listener, mut client, mut server) = through(vec![fault]);
        server.send(unsuback(&[1, 2, 3])).unwrap();
        server.send(packet::PINGRESP).unwrap();
        if let Some(expected) = expected {
            client.expect(expected).unwrap();
        }
        client.expect(packet::PINGRESP).unwrap();
    }
}

#[test]
fn a_packet_of_a_type_is_dropped_or_has_one_bit_changed() {
    let (_proxy, _listener, mut client, mut server) = through(vec![Fault::Several(vec![
        Fault::Drop { from: Side::Client, kind: 4 },
        Fault::Flip { from: Side::Client, kind: 5, at: 1 },
    ])]);
    client.send(packet::ack(PUBACK, 7)).unwrap();
    client.send(packet::ack(packet::PUBREC, 6)).unwrap();
    server.expect(packet::ack(packet::PUBREC, 7)).unwrap();
}

#[test]
fn an_unsuback_comes_late() {
    let (proxy, _listener, mut client, mut server) = through(vec![Fault::LateUnsubAck]);
    server.send(unsuback(&[1])).unwrap();
    server.send(packet::PINGRESP).unwrap();
    client.expect(packet::PINGRESP).unwrap();
    client.expect(unsuback(&[1])).unwrap();
    assert_eq!(proxy.connections(), 1);
}

#[test]
fn an_unsuback_of_an_earlier_connection_is_replayed() {
    let (proxy, listener, mut client, mut server) = through(vec![Fault::Pass, Fault::ReplayUnsubAck { of_connection: 0 }]);
    server.send(unsuback(&[1, 1])).unwrap();
    client.expect(unsuback(&[1, 1])).unwrap();
    let mut second = Wire::connect(proxy.address(), "second").unwrap();
    let mut server = listener.accept().unwrap();
    server.send(unsuback(&[2, 2, 2])).unwrap();
    second.expect(unsuback(&[1, 1])).unwrap();
}

#[test]
fn pings_are_answered_on_the_way() {
    let (_proxy, _listener, mut client, mut server) = through(vec![Fault::AnswerPings]);
    client.send(packet::PINGREQ).unwrap();
    client.expect(packet::PINGRESP).unwrap();
    client.send(packet::DISCONNECT).unwrap();
    server.expect(packet::DISCONNECT).unwrap();
}

#[test]
fn several_faults_come_together() {
    let (_proxy, _listener, mut client, mut server) = through(vec![Fault::Several(vec![Fault::AnswerPings, Fault::DropUnsubAck])]);
    server.send(unsuback(&[1])).unwrap();
    client.send(packet::PINGREQ).unwrap();
    client.expect(packet::PINGRESP).unwrap();
    server.send(packet::ack(PUBACK, 1)).unwrap();
    client.expect(packet::ack(PUBACK, 1)).unwrap();
}

#[test]
fn a_tls_front_strips_alpn_and_carries_both_ways() {
    let identity = Identity::generate().unwrap();
    let listener = Listener::bind("server").unwrap();
    let front = Front::Tls(identity.server_config(&[]).unwrap());
    let proxy = Proxy::between(front, Back::Tcp, listener.address(), vec![]).unwrap();
    let config = client_config(&identity.authority, &["x-candor-1", "mqtt"]).unwrap();
    let accepting = std::thread::spawn(move || listener.accept().unwrap());
    let mut client = Wire::connect_tls(proxy.address(), config, "client").unwrap();
    assert_eq!(client.alpn(), None);
    let mut server = accepting.join().unwrap();
    client.send(Connect::clean("a").bytes()).unwrap();
    server.expect(Connect::clean("a").bytes()).unwrap();
    server.send(packet::connack(false, 0)).unwrap();
    client.expect(packet::connack(false, 0)).unwrap();
}

#[test]
fn tls_goes_on_to_a_server_with_tls() {
    let identity = Identity::generate().unwrap();
    let server = Listener::bind("server").unwrap();
    let inner = Proxy::between(Front::Tls(identity.server_config(&["mqtt"]).unwrap()), Back::Tcp, server.address(), vec![]).unwrap();
    let back = Back::Tls(client_config(&identity.authority, &["mqtt"]).unwrap());
    let outer = Proxy::between(Front::Tls(identity.server_config(&["mqtt"]).unwrap()), back, inner.address(), vec![]).unwrap();
    let config = client_config(&identity.authority, &["x-candor-1", "mqtt"]).unwrap();
    let mut client = Wire::connect_tls(outer.address(), config, "client").unwrap();
    assert_eq!(client.alpn().as_deref(), Some("mqtt"));
    client.send(packet::PINGREQ).unwrap();
    server.accept().unwrap().expect(packet::PINGREQ).unwrap();
}
