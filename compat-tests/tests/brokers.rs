//! Every broker of the list starts, stops, and starts again where it was.

use candor_compat::outcome::Checked;
use candor_compat::peer::recipe::Transport;
use candor_compat::peer::{Broker, Unavailable};
use candor_compat::wire::{Wire, packet};

#[allow(clippy::panic, reason = "this is how a test fails")]
fn starts_and_stops(name: &str) {
    let broker = match Broker::start(name) {
        Ok(broker) => broker,
        Err(Unavailable::Missing(what)) => {
            assert!(std::env::var("CI").is_err(), "{what}");
            return println!("skipped: {what}");
        }
        Err(Unavailable::Broken(stop)) => panic!("{stop}"),
    };
    if let Err(stop) = lives(&broker) {
        panic!("{stop}\n{}", broker.log_tail(|_| true));
    }
}

fn lives(broker: &Broker) -> Checked {
    let address = broker.address()?;
    greets(broker)?;
    broker.kill();
    assert!(Wire::connect(address, "late").is_err());
    broker.restart()?;
    assert_eq!(broker.address()?, address);
    greets(broker)?;
    broker.stop()
}

fn greets(broker: &Broker) -> Checked {
    let mut wire = Wire::connect(broker.address()?, "client")?;
    wire.send(packet::Connect::clean("compat").bytes())?;
    wire.expect(packet::connack(false, 0))?;
    wire.ping()?;
    if broker.endpoint(Transport::Tls).is_ok() {
        let config = candor_compat::peer::identity::client_config(&broker.identity.authority, &["mqtt"])?;
        let mut wire = Wire::connect_tls(broker.endpoint(Transport::Tls)?, config, "TLS client")?;
        wire.send(packet::Connect::clean("compat-tls").bytes())?;
        wire.expect(packet::connack(false, 0))?;
    }
    Ok(())
}

macro_rules! brokers { ($($name:ident)*) => { $(#[test] fn $name() { starts_and_stops(stringify!($name)) })* } }
brokers! { candor mosquitto rumqttd nats aedes amqtt }
