//! TLS: what is negotiated, resumed, refused and reloaded.

use crate::authority::{Authority, connection};
use crate::conversation::Client;
use crate::passage::{CONNACK, CONNECT};
use candor_broker::transport::tls::{TlsFile, TlsHandshakes, TlsOptions, TlsSettings, TlsSettingsError, TlsVersion};
use candor_broker::transport::{Progress, Scheme, TransportError};
use candor_protocol::dialect::{ALPN, ALPN_PLAIN};
use rustls::{AlertDescription, ClientConfig};
use std::fs;
use std::sync::Arc;

fn handshakes(full: u64, resumed: u64, failed: u64) -> TlsHandshakes {
    TlsHandshakes { full, resumed, failed }
}

/// One connection, used enough for its ticket to arrive. Whether it was resumed.
fn visit(config: &Arc<ClientConfig>, settings: &TlsSettings) -> bool {
    let mut talk = Client::new(Scheme::Mqtts, connection(config)).connected(Some(settings));
    talk.client_sends(CONNECT).unwrap();
    talk.server_sends(CONNACK);
    assert_eq!(talk.client_received(), CONNACK);
    let resumed = talk.server.peer().tls.unwrap().resumed;
    assert_eq!(resumed, talk.with_client_tls(|tls| tls.handshake_kind()) == Some(rustls::HandshakeKind::Resumed));
    resumed
}

fn refused(config: ClientConfig, scheme: Scheme, settings: &TlsSettings) -> (String, rustls::Error) {
    let (talk, outcome) = Client::new(scheme, connection(&Arc::new(config))).connect(Some(settings));
    let Err(TransportError::Tls(failure)) = outcome else { panic!("{outcome:?}") };
    (failure.to_string(), talk.client_error().unwrap())
}

#[test]
fn the_alpn_id_tells_the_dialect_and_may_be_missing() {
    let authority = Authority::new();
    let settings = authority.settings();
    for (offered, selected) in
        [(&[ALPN, ALPN_PLAIN][..], Some(ALPN)), (&[ALPN_PLAIN, ALPN], Some(ALPN)), (&["h2", ALPN_PLAIN], Some(ALPN_PLAIN)), (&[], None)]
    {
        let talk = Client::new(Scheme::Mqtts, connection(&Arc::new(authority.client(offered)))).connected(Some(&settings));
        let peer = talk.server.peer();
        assert_eq!(peer.extended_offered, selected == Some(ALPN), "{offered:?}");
        let tls = peer.tls.unwrap();
        assert_eq!(tls.alpn.as_deref(), selected, "{offered:?}");
        assert_eq!((tls.version, tls.resumed, tls.server_name.as_deref()), (TlsVersion::V1_3, false, Some("localhost")));
        assert_eq!((tls.client_certified, tls.client_name), (false, None));
    }
    assert_eq!(settings.handshakes(), handshakes(4, 0, 0));
}

#[test]
fn a_client_that_offers_other_protocols_is_refused_by_an_alert() {
    let authority = Authority::new();
    let settings = authority.settings();
    let (said, seen) = refused(authority.client(&["h2", "mqtt-next"]), Scheme::Mqtts, &settings);
    assert!(said.contains("the client's ALPN offers \"h2\", \"mqtt-next\"; this listener has x-candor-1 and mqtt"), "{said}");
    assert_eq!(seen, rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol));
    assert_eq!(settings.handshakes(), handshakes(0, 0, 1));
}

#[test]
fn a_websocket_over_tls_has_the_alpn_id_of_http_as_browsers_offer_it() {
    let authority = Authority::new();
    let settings = authority.settings();
    let browser = connection(&Arc::new(authority.client(&["http/1.1"])));
    let talk = Client::new(Scheme::Wss, browser).connected(Some(&settings));
    let peer = talk.server.peer();
    assert_eq!((peer.tls.unwrap().alpn.as_deref(), peer.extended_offered), (Some("http/1.1"), false));
    let (said, _) = refused(authority.client(&[ALPN_PLAIN]), Scheme::Wss, &settings);
    assert!(said.contains("a wss:// listener has http/1.1"), "{said}");
}

#[test]
fn a_second_visit_is_resumed_from_a_ticket() {
    let authority = Authority::new();
    let settings = authority.settings();
    let client = Arc::new(authority.client(&[ALPN_PLAIN]));
    assert_eq!([0; 4].map(|_: i32| visit(&client, &settings)), [false, true, true, true]);
    assert_eq!(settings.handshakes(), handshakes(1, 3, 0));
    assert!(!visit(&Arc::new(authority.client(&[ALPN_PLAIN])), &settings), "a client without a ticket");
}

#[test]
fn tls_1_2_is_served_only_where_it_is_asked_for() {
    let authority = Authority::new();
    let old = || authority.client_of_version(&rustls::version::TLS12);
    let (said, seen) = refused(old(), Scheme::Mqtts, &authority.settings());
    assert!(said.contains("tls_min = \"1.2\" takes TLS 1.2 beside 1.3"), "{said}");
    assert_eq!(seen, rustls::Error::AlertReceived(AlertDescription::ProtocolVersion));

    let settings = TlsSettings::load(TlsOptions { tls_min: "1.2".parse().unwrap(), ..authority.options() }).unwrap();
    let client = Arc::new(old());
    let talk = Client::new(Scheme::Mqtts, connection(&client)).step(1).connected(Some(&settings));
    assert_eq!(talk.server.peer().tls.unwrap().version, TlsVersion::V1_2);
    assert!(visit(&client, &settings), "tickets work as well");
    let new = Client::new(Scheme::Mqtts, connection(&Arc::new(authority.client(&[])))).connected(Some(&settings));
    assert_eq!(new.server.peer().tls.unwrap().version, TlsVersion::V1_3);
    assert_eq!(
        "1.1".parse::<TlsVersion>().unwrap_err().to_string(),
        "\"1.1\" is not a version of TLS that can be the least one; use \"1.3\" or \"1.2\""
    );
}

#[test]
fn tls_1_2_records_of_many_packets_are_one_as_well() {
    let authority = Authority::new();
    let settings = TlsSettings::load(TlsOptions { tls_min: TlsVersion::V1_2, ..authority.options() }).unwrap();
    let client = Arc::new(authority.client_of_version(&rustls::version::TLS12));
    let mut talk = Client::new(Scheme::Mqtts, connection(&client)).connected(Some(&settings));
    for len in [1, 2000, 16_384, 40_000] {
        let wire = talk.server_sends(&vec![0xC0; len]);
        assert_eq!(crate::passage::records(&wire).len(), len.div_ceil(16_384));
        assert_eq!(talk.client_received().len(), len);
    }
}

#[test]
fn client_certificates_are_verified_if_given_and_required_by_option() {
    let authority = Authority::new();
    let stranger = Authority::new();
    let optional = TlsOptions { client_ca: Some(authority.directory.join("ca.pem")), ..authority.options() };
    let settings = TlsSettings::load(optional.clone()).unwrap();

    let anonymous = Client::new(Scheme::Mqtts, connection(&Arc::new(authority.client(&[])))).connected(Some(&settings));
    let tls = anonymous.server.peer().tls.unwrap();
    assert_eq!((tls.client_certified, tls.client_name), (false, None));

    let pump = Arc::new(authority.client_certified(&authority, "pump-7", &["pump-7.example"]));
    for (visit, resumed) in [("first", false), ("second", true)] {
        let mut talk = Client::new(Scheme::Mqtts, connection(&pump)).step(1).connected(Some(&settings));
        talk.client_sends(CONNECT).unwrap();
        let tls = talk.server.peer().tls.unwrap();
        assert_eq!((tls.client_certified, tls.client_name.as_deref(), tls.resumed), (true, Some("pump-7"), resumed), "{visit}");
    }

    let nameless = Arc::new(authority.client_certified(&authority, "", &["valve-3.example"]));
    let talk = Client::new(Scheme::Wss, connection(&nameless)).connected(Some(&settings));
    assert_eq!(talk.server.peer().tls.unwrap().client_name.as_deref(), Some("valve-3.example"));

    let (said, seen) = refused(authority.client_certified(&stranger, "pump-7", &[]), Scheme::Mqtts, &settings);
    assert!(said.contains("not one that client_ca vouches for"), "{said}");
    assert!(matches!(seen, rustls::Error::AlertReceived(AlertDescription::UnknownCA)), "{seen}");

    let settings = TlsSettings::load(TlsOptions { client_certificate_required: true, ..optional }).unwrap();
    let (said, seen) = refused(authority.client(&[]), Scheme::Mqtts, &settings);
    assert!(said.contains("requires a client certificate"), "{said}");
    assert_eq!(seen, rustls::Error::AlertReceived(AlertDescription::CertificateRequired));
}

#[test]
fn a_handshake_in_records_of_32_bytes_is_put_together() {
    let authority = Authority::new();
    let options = TlsOptions { client_ca: Some(authority.directory.join("ca.pem")), ..authority.options() };
    let settings = TlsSettings::load(options).unwrap();
    for step in [1, 37, usize::MAX] {
        let mut client = authority.client_certified(&authority, "pump-7", &[]);
        client.max_fragment_size = Some(32);
        let mut talk = Client::new(Scheme::Mqtts, connection(&Arc::new(client))).step(step).connected(Some(&settings));
        talk.client_sends(&CONNECT.repeat(20)).unwrap();
        assert_eq!(talk.server_received(), CONNECT.repeat(20));
        assert_eq!(talk.server.peer().tls.unwrap().client_name.as_deref(), Some("pump-7"));
    }
}

#[test]
fn a_client_that_does_not_trust_the_server_is_told_apart() {
    let authority = Authority::new();
    let (talk, outcome) =
        Client::new(Scheme::Mqtts, connection(&Arc::new(Authority::new().client(&[])))).connect(Some(&authority.settings()));
    let said = outcome.unwrap_err().to_string();
    assert!(said.contains("the client does not accept this listener's certificate"), "{said}");
    assert!(matches!(talk.client_error(), Some(rustls::Error::InvalidCertificate(_))));
}

#[test]
fn both_sides_may_end_in_order() {
    let authority = Authority::new();
    let settings = authority.settings();
    let config = Arc::new(authority.client(&[]));

    let mut talk = Client::new(Scheme::Mqtts, connection(&config)).connected(Some(&settings));
    talk.server_closes();
    assert!(talk.client_saw_the_end());
    assert_eq!(talk.client_sends(CONNECT), Ok(Progress::Open), "the other direction is still open");
    assert_eq!(talk.server_received(), CONNECT);
    let mut mqtt = bytes::BytesMut::from(CONNACK);
    assert_eq!(talk.server.send(&mut mqtt, &mut talk.output), Err(TransportError::Closed));
    talk.server_closes();
    assert!(talk.client_bytes().is_empty());

    let mut talk = Client::new(Scheme::Mqtts, connection(&config)).connected(Some(&settings));
    talk.client_sends(CONNECT).unwrap();
    talk.with_client_tls(|tls| tls.send_close_notify());
    assert_eq!(talk.pump(), Ok(Progress::PeerClosed));
    assert_eq!(talk.server_received(), CONNECT);
    assert_eq!(talk.server.receive(&mut b"late"[..].into(), &mut talk.mqtt, &mut talk.output), Ok(Progress::PeerClosed));
    assert!(talk.mqtt.is_empty());
    talk.server_sends(CONNACK);
    assert_eq!(talk.client_received(), CONNACK, "what is owed can still be said");
}

#[test]
fn keys_may_be_changed_in_the_middle() {
    let authority = Authority::new();
    let settings = authority.settings();
    let mut talk = Client::new(Scheme::Mqtts, connection(&Arc::new(authority.client(&[])))).step(1).connected(Some(&settings));
    for _ in 0..3 {
        talk.with_client_tls(|tls| tls.refresh_traffic_keys()).unwrap();
        assert_eq!(talk.client_sends(CONNECT), Ok(Progress::Open));
        assert_eq!(talk.server_received(), CONNECT);
        talk.server_sends(CONNACK);
        assert_eq!(talk.client_received(), CONNACK);
        assert_eq!(talk.client_error(), None);
    }
}

#[test]
fn a_new_certificate_is_taken_without_a_restart_and_tickets_stay_good() {
    let authority = Authority::new();
    let settings = authority.settings();
    let certificate = |config: &Arc<ClientConfig>| {
        let mut talk = Client::new(Scheme::Mqtts, connection(config)).connected(Some(&settings));
        talk.with_client_tls(|tls| tls.peer_certificates().unwrap()[0].clone())
    };
    let client = Arc::new(authority.client(&[]));
    let old = certificate(&client);
    let mut running = Client::new(Scheme::Mqtts, connection(&client)).connected(Some(&settings));
    authority.renew_server();
    assert_eq!(certificate(&Arc::new(authority.client(&[]))), old, "files alone change nothing");
    settings.reload().unwrap();
    assert_ne!(certificate(&Arc::new(authority.client(&[]))), old);
    assert!(visit(&client, &settings), "a ticket from before");
    running.client_sends(CONNECT).unwrap();
    assert_eq!(running.server_received(), CONNECT, "connections from before go on");
    // 4096-01-01, the last day of a certificate that asks for none.
    assert_eq!(settings.certificate_expires_s(), Some(67_090_118_400));

    let before = certificate(&Arc::new(authority.client(&[])));
    authority.write("server.pem", "nothing");
    assert!(settings.reload().is_err());
    assert_eq!(certificate(&Arc::new(authority.client(&[]))), before, "a failed reload leaves what is in force");
}

#[test]
fn a_change_of_client_cas_makes_old_tickets_worthless() {
    let authority = Authority::new();
    let stranger = Authority::new();
    let cas = authority.write("cas.pem", &fs::read_to_string(authority.directory.join("ca.pem")).unwrap());
    let options = TlsOptions { client_ca: Some(cas), client_certificate_required: true, ..authority.options() };
    let settings = TlsSettings::load(options).unwrap();
    let client = Arc::new(authority.client_certified(&authority, "pump-7", &[]));
    assert!(!visit(&client, &settings));
    settings.reload().unwrap();
    assert!(visit(&client, &settings), "the same CAs");
    authority.write("cas.pem", &fs::read_to_string(stranger.directory.join("ca.pem")).unwrap());
    settings.reload().unwrap();
    let (_, outcome) = Client::new(Scheme::Mqtts, connection(&client)).connect(Some(&settings));
    assert!(matches!(outcome, Err(TransportError::Tls(_))), "a ticket must not outlive the trust in its certificate: {outcome:?}");
}

#[test]
fn a_demand_for_certificates_makes_tickets_without_one_worthless() {
    let authority = Authority::new();
    let optional = TlsOptions { client_ca: Some(authority.directory.join("ca.pem")), ..authority.options() };
    let settings = TlsSettings::load(optional.clone()).unwrap();
    let anonymous = Arc::new(authority.client(&[]));
    assert!(!visit(&anonymous, &settings));
    assert!(visit(&anonymous, &settings));
    settings.replace(TlsOptions { client_certificate_required: true, ..optional }).unwrap();
    let (_, outcome) = Client::new(Scheme::Mqtts, connection(&anonymous)).connect(Some(&settings));
    assert!(outcome.unwrap_err().to_string().contains("requires a client certificate"));
}

#[test]
fn errors_about_files_name_the_file_the_fault_and_what_is_expected() {
    let authority = Authority::new();
    let good = authority.options();
    let certificate = fs::read_to_string(&good.certificate).unwrap();
    let key = fs::read_to_string(&good.key).unwrap();
    let other = Authority::new();
    let missing = authority.directory.join("missing.pem");
    let empty = authority.write("empty.pem", "");
    let cut = authority.write("cut.pem", &certificate[..certificate.len() / 2]);
    let encrypted = authority.write("encrypted.pem", "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n");
    let nonsense = authority.write("nonsense.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    let swapped = authority.write("swapped.pem", &key);
    for (options, said) in [
        (TlsOptions { certificate: missing.clone(), ..good.clone() }, "certificate file"),
        (TlsOptions { certificate: missing, ..good.clone() }, "cannot be read"),
        (TlsOptions { certificate: empty.clone(), ..good.clone() }, "it holds no certificate; expected PEM with the server's"),
        (TlsOptions { certificate: swapped, ..good.clone() }, "a private key and no certificate: the two files may be swapped"),
        (TlsOptions { certificate: cut, ..good.clone() }, "it is damaged: the line \"-----END CERTIFICATE-----\" is missing"),
        (TlsOptions { certificate: nonsense.clone(), ..good.clone() }, "the first certificate cannot be used"),
        (TlsOptions { key: good.certificate.clone(), ..good.clone() }, "it holds a certificate and no private key"),
        (TlsOptions { key: empty.clone(), ..good.clone() }, "it holds no private key; expected PEM with one private key"),
        (TlsOptions { key: encrypted, ..good.clone() }, "has a passphrase, which the broker cannot ask for"),
        (TlsOptions { key: other.options().key, ..good.clone() }, "does not belong to the first certificate in"),
        (TlsOptions { client_ca: Some(empty), ..good.clone() }, "client CA file"),
        (TlsOptions { client_ca: Some(nonsense), ..good.clone() }, "certificate 1 is not a CA's"),
        (TlsOptions { client_certificate_required: true, ..good.clone() }, "client_ca names no file"),
    ] {
        let text = TlsSettings::load(options).unwrap_err().to_string();
        assert!(text.contains(said), "{text}");
    }
    let error = TlsSettings::load(TlsOptions { key: "/nowhere/key.pem".into(), ..good }).unwrap_err();
    assert!(matches!(error, TlsSettingsError::Read { file: TlsFile::Key, .. }));
    assert!(error.to_string().contains("/nowhere/key.pem"));
}
