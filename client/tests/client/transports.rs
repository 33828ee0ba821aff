//! TLS and WebSocket: the doors they open, whom they prove, and what they refuse.

use crate::support::{Act, Certificates, Script, Server, Transport, soon};
use candor_client::protocol::dialect::{ALPN, ALPN_PLAIN};
use candor_client::{
    Client, Dialect, Door, Error, Event, Events, InFile, InProcess, Memory, NotAvailable, Options, Policy, Qos, Reconnect, Step, TlsOptions,
};
use std::sync::Arc;

async fn connect(options: Options) -> Result<(Client, Events), Error> {
    soon(Client::connect_observed(options)).await.map(|(client, _, events)| (client, events))
}

fn forgetful(options: Options) -> Options {
    options.memory(Arc::new(InProcess::default()))
}

fn spoken(client: &Client) -> (Dialect, Door, Option<String>) {
    let agreement = client.agreement().unwrap();
    (agreement.dialect, agreement.door, agreement.transport_selected.clone())
}

#[tokio::test]
async fn a_server_that_selects_the_extension_by_alpn_is_spoken_to_in_it_at_once() {
    let server = Server::over(Transport::tls(&[ALPN, ALPN_PLAIN]), vec![Script::default()]).await;
    let (client, _) = connect(forgetful(server.options())).await.unwrap();
    assert_eq!(spoken(&client), (Dialect::Extended, Door::Extended, Some(ALPN.to_owned())));
    let tls = client.agreement().unwrap().tls.clone().unwrap();
    assert_eq!((tls.version, tls.verified), ("1.3", true));
}

#[tokio::test]
async fn behind_a_front_that_knows_no_alpn_the_offer_finds_the_extension() {
    for alpn in [&[][..], &[ALPN_PLAIN][..]] {
        let server = Server::over(Transport::tls(alpn), vec![Script::default()]).await;
        let (client, _) = connect(forgetful(server.options())).await.unwrap();
        assert_eq!(spoken(&client), (Dialect::Extended, Door::Offer, alpn.first().map(|id| (*id).to_owned())));
    }
}

#[tokio::test]
async fn a_client_that_wants_plain_mqtt_names_nothing_else() {
    let server = Server::over(Transport::tls(&[ALPN, ALPN_PLAIN]), vec![Script::default()]).await;
    let (client, _) = connect(forgetful(server.options()).policy(Policy::Plain)).await.unwrap();
    assert_eq!(spoken(&client), (Dialect::V311, Door::Plain(Dialect::V311), Some(ALPN_PLAIN.to_owned())));
}

#[tokio::test]
async fn a_reconnect_resumes_the_tls_session() {
    let server = Server::over(Transport::tls(&[ALPN]), vec![Script::default()]).await;
    let (client, mut events) = connect(forgetful(server.options())).await.unwrap();
    assert!(!client.agreement().unwrap().tls.as_ref().unwrap().resumed);
    // The ticket comes behind the handshake: an answer says that it has been read.
    soon(client.ping()).await.unwrap();
    server.act(Act::Cut);
    let mut connections = 0;
    while connections < 2 {
        if let Event::Connected(agreement) = soon(events.next()).await.unwrap() {
            connections += 1;
            assert_eq!(agreement.tls.as_ref().unwrap().resumed, connections == 2);
        }
    }
}

#[tokio::test]
async fn the_next_client_resumes_the_tls_session_too_in_both_schemes() {
    for transport in [Transport::tls(&[ALPN]), Transport::tls(&[]).websocket(&[ALPN])] {
        let server = Server::over(transport, vec![Script::default()]).await;
        let mut resumed = Vec::new();
        for _ in 0..2 {
            let (client, _) = connect(forgetful(server.options())).await.unwrap();
            resumed.push(client.agreement().unwrap().tls.as_ref().unwrap().resumed);
            soon(client.ping()).await.unwrap();
            soon(client.leave()).await;
        }
        assert_eq!(resumed, [false, true], "{}", server.url());
    }
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_is_refused() {
    let server = Server::over(Transport::tls(&[]), vec![Script::default()]).await;
    let other = Server::over(Transport::tls(&[]), vec![Script::default()]).await;
    // One of the same name as the server's, as an old file of its CA would be, and one of another.
    for (certificates, cause) in [(other.certificates.clone().unwrap(), "BadSignature"), (Certificates::stranger(), "UnknownIssuer")] {
        let error = connect(forgetful(server.options()).tls(certificates.client_options())).await.unwrap_err();
        assert!(matches!(&error, Error::Transport(error) if error.step == Step::Tls), "{error}");
        let said = format!("no certificate in {} has signed the server's ({cause})", certificates.path().display());
        assert!(error.to_string().contains(&said) && error.to_string().contains("--cafile FILE"), "{error}");
        assert!(error.to_string().ends_with("it is ca.pem in the folder of --tls-development"), "{error}");
    }
    let wrong_name = TlsOptions { server_name: Some("other.example".to_owned()), ..server.certificates.as_ref().unwrap().client_options() };
    let error = connect(forgetful(server.options()).tls(wrong_name)).await.unwrap_err();
    assert!(matches!(&error, Error::Transport(error) if error.step == Step::Tls), "{error}");
    assert!(!error.to_string().contains("--cafile"), "no file helps against another name: {error}");
}

#[tokio::test]
async fn a_client_that_takes_any_certificate_remembers_nothing_that_binds() {
    let server = Server::over(Transport::tls(&[]), vec![Script::default()]).await;
    let memory: Arc<dyn Memory> = Arc::new(InProcess::default());
    let tls = TlsOptions { dangerously_accept_any_certificate: true, ..TlsOptions::default() };
    let options = || server.options().tls(tls.clone()).memory(Arc::clone(&memory));
    let (client, _) = connect(options()).await.unwrap();
    assert_eq!(client.agreement().unwrap().tls.as_ref().map(|tls| tls.verified), Some(false));
    server.now_follow(Script::old());
    let (client, _) = connect(options()).await.unwrap();
    assert_eq!(client.agreement().unwrap().dialect, Dialect::V311, "it is a warning, as over clear TCP");
}

#[tokio::test]
async fn files_that_hold_no_certificate_are_named() {
    let server = Server::over(Transport::tls(&[]), vec![Script::default()]).await;
    let tls = TlsOptions { ca_file: Some("/nowhere/ca.pem".into()), ..TlsOptions::default() };
    let error = connect(forgetful(server.options()).tls(tls)).await.unwrap_err();
    assert!(matches!(&error, Error::Transport(error) if error.step == Step::TlsFiles), "{error}");
    assert!(error.to_string().contains("/nowhere/ca.pem"), "{error}");
}

/// A server that proved itself by TLS and spoke the extension, and what a client remembers of it.
async fn known_server() -> (Server, Arc<dyn Memory>) {
    let server = Server::over(Transport::tls(&[]), vec![Script::default()]).await;
    let memory: Arc<dyn Memory> = Arc::new(InProcess::default());
    let (client, _) = connect(server.options().memory(Arc::clone(&memory))).await.unwrap();
    soon(client.leave()).await;
    (server, memory)
}

#[tokio::test]
async fn a_server_that_proved_itself_and_spoke_the_extension_is_spoken_to_in_it_at_once() {
    let (server, memory) = known_server().await;
    let (client, _) = connect(server.options().memory(memory)).await.unwrap();
    assert_eq!(spoken(&client), (Dialect::Extended, Door::Extended, None));
}

#[tokio::test]
async fn a_server_that_proved_itself_and_spoke_the_extension_is_not_taken_plain() {
    let (mut server, memory) = known_server().await;
    server.all_seen();
    server.now_follow(Script::old());
    let error = connect(server.options().memory(Arc::clone(&memory))).await.unwrap_err();
    assert!(matches!(error, Error::NotAvailable(NotAvailable::SpokeBefore { .. })), "{error}");
    let connections = server.all_seen().iter().filter(|seen| matches!(seen, crate::support::Seen::Arrived)).count();
    assert_eq!(connections, 1, "there is no second try with less");
    // An operator who knows better makes the memory forget.
    memory.remember(&server.options().address_text(), Default::default()).unwrap();
    let (client, _) = connect(server.options().memory(memory)).await.unwrap();
    assert_eq!(client.agreement().unwrap().dialect, Dialect::V311);
}

#[tokio::test]
async fn a_memory_in_a_file_binds_the_next_process_too() {
    let path = std::env::temp_dir().join(format!("candor-test-memory-{}.json", std::process::id()));
    let server = Server::over(Transport::tls(&[]), vec![Script::default()]).await;
    let mut doors = Vec::new();
    for _ in 0..2 {
        let (client, _) = connect(server.options().memory(Arc::new(InFile::new(&path)))).await.unwrap();
        doors.push(client.agreement().unwrap().door);
    }
    std::fs::remove_file(&path).unwrap();
    assert_eq!(doors, [Door::Offer, Door::Extended]);
}

#[tokio::test]
async fn a_websocket_selects_the_extension_by_its_subprotocol() {
    for tls in [false, true] {
        // A server that has HTTP below refuses a handshake that names MQTT there.
        let transport = if tls { Transport::tls(&["http/1.1"]) } else { Transport::tcp() };
        let mut server = Server::over(transport.websocket(&[ALPN, ALPN_PLAIN]), vec![Script::default()]).await;
        let (client, _) = connect(forgetful(server.options())).await.unwrap();
        assert_eq!(spoken(&client), (Dialect::Extended, Door::Extended, Some(ALPN.to_owned())));
        let large = vec![7; 300_000];
        assert!(soon(client.publish("a", large).qos(Qos::ExactlyOnce).into_future()).await.is_ok());
        assert_eq!(server.publish().await.message.payload().len(), 300_000);
        soon(client.leave()).await;
    }
}

#[tokio::test]
async fn a_websocket_that_knows_mqtt_alone_gets_the_offer() {
    let server = Server::over(Transport::tcp().websocket(&[ALPN_PLAIN]), vec![Script::default()]).await;
    let (client, _) = connect(forgetful(server.options())).await.unwrap();
    assert_eq!(spoken(&client), (Dialect::Extended, Door::Offer, Some(ALPN_PLAIN.to_owned())));
}

#[tokio::test]
async fn a_websocket_that_selects_no_subprotocol_is_refused_with_the_reason() {
    let server = Server::over(Transport::tcp().websocket(&[]), vec![Script::default()]).await;
    let error = connect(forgetful(server.options())).await.unwrap_err();
    assert!(matches!(&error, Error::Transport(error) if error.step == Step::WebSocket), "{error}");
    assert!(error.to_string().contains("MQTT-6.0.0-4"), "{error}");
}

#[tokio::test]
async fn handshakes_that_never_end_are_given_up() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = silent.local_addr().unwrap().port();
    for (scheme, step) in [("mqtts", Step::Tls), ("ws", Step::WebSocket)] {
        let options = Options::new(&format!("{scheme}://127.0.0.1:{port}")).unwrap().reconnect(Reconnect::never());
        let error = connect(forgetful(options).connect_timeout(std::time::Duration::from_millis(50))).await.unwrap_err();
        assert!(matches!(&error, Error::Transport(error) if error.step == step), "{error}");
    }
}

#[tokio::test]
async fn a_client_proves_itself_by_its_certificate() {
    let (transport, identity) = Transport::tls_for_one_client(&[ALPN]);
    let server = Server::over(transport, vec![Script::default()]).await;
    let known = TlsOptions { client_identity: Some(identity.paths()), ..server.certificates.as_ref().unwrap().client_options() };
    let (client, _) = connect(forgetful(server.options()).tls(known)).await.unwrap();
    soon(client.ping()).await.unwrap();
    let error = connect(forgetful(server.options())).await.unwrap_err();
    assert!(matches!(error, Error::Transport(_)), "{error}");
}
