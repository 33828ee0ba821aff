//! The statements of MQTT 3.1.1 as tests: of our broker, and of mosquitto, which shows that the tests ask for what is so;
//! of clients before a script, ours
//! among them.

mod common;

macro_rules! of_a_broker {
    ($($module:ident::$name:ident: $($id:literal)*,)*) => { $(#[test] fn $name() { super::common::run(BROKER, "wire", stringify!($name)) })* };
}

macro_rules! of_a_client {
    ($($module:ident::$name:ident: $($id:literal)*,)*) => { $(#[test] fn $name() { super::common::run("script", CLIENT, stringify!($name)) })* };
}

macro_rules! brokers {
    ($($broker:ident)+) => {
        $(mod $broker {
            const BROKER: &str = stringify!($broker);
            candor_compat::for_each_statement!(of_a_broker);
        })+
    };
}

macro_rules! clients {
    ($($client:ident = $name:literal),+) => {
        $(mod $client {
            const CLIENT: &str = $name;
            candor_compat::for_each_client_statement!(of_a_client);
        })+
    };
}

brokers! { candor mosquitto }
clients! { paho = "paho", rumqttc = "rumqttc", ours = "candor-plain" }
