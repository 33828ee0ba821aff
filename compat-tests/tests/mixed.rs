//! Other people's clients, which are plain, beside ours, which is extended, on our broker.

mod common;

macro_rules! tests {
    ($($module:ident::$name:ident,)*) => { $(#[test] fn $name() { super::common::run("candor", CLIENT, stringify!($name)) })* };
}

macro_rules! clients {
    ($($client:ident = $name:literal),+) => {
        $(mod $client {
            const CLIENT: &str = $name;
            candor_compat::for_each_mixed_case!(tests);
        })+
    };
}

clients! { paho = "paho", paho_1_6 = "paho-1.6", mqttjs = "mqttjs", rumqttc = "rumqttc", mosquitto_clients = "mosquitto-clients" }
