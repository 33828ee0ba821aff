//! Every case of a client with a broker, as tests. All clients on our broker and on mosquitto; on the other brokers one
//! other and, where a broker can be shared between cases, our own. `cargo run -p candor-compat -- matrix` runs every pair.

mod common;

macro_rules! tests {
    ($($module:ident::$name:ident,)*) => { $(#[test] fn $name() { super::super::common::run(super::BROKER, CLIENT, stringify!($name)) })* };
}

macro_rules! pairs {
    ($($broker:ident: $($client:ident = $name:literal),+;)+) => {
        $(mod $broker {
            const BROKER: &str = stringify!($broker);
            $(mod $client {
                const CLIENT: &str = $name;
                candor_compat::for_each_case!(tests);
            })+
        })+
    };
}

pairs! {
    candor: paho = "paho", paho_1_6 = "paho-1.6", mqttjs = "mqttjs", rumqttc = "rumqttc", mosquitto_clients = "mosquitto-clients",
        ours = "candor", ours_required = "candor-require", ours_plain = "candor-plain";
    mosquitto: paho = "paho", paho_1_6 = "paho-1.6", mqttjs = "mqttjs", rumqttc = "rumqttc", mosquitto_clients = "mosquitto-clients",
        ours = "candor";
    rumqttd: paho = "paho", ours = "candor";
    nats: paho = "paho", ours = "candor";
    aedes: paho = "paho", ours = "candor";
    amqtt: paho = "paho";
}
