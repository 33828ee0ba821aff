//! What our own client and command line promise, with every broker: how they find the extension, what they make of servers that
//! do not have it, and of a man in the middle.

mod common;

macro_rules! own_cases {
    ($($about:ident $against:ident $module:ident::$name:ident,)*) => {
        $(#[test] fn $name() { super::run(BROKER, stringify!($about), stringify!($name)) })*
    };
}

macro_rules! brokers {
    ($($broker:ident)+) => {
        $(mod $broker {
            const BROKER: &str = stringify!($broker);
            candor_compat::for_each_own_case!(own_cases);
        })+
    };
}

/// Runs a case on a broker that it is about; with another there is nothing to see.
fn run(broker: &str, about: &str, name: &str) {
    let is_about = |case: &&candor_compat::case::ours::OurCase| case.name == name && case.against.holds(broker);
    if candor_compat::case::ours::OURS.iter().any(|case| is_about(&case)) {
        common::run(broker, &about.to_lowercase(), name);
    }
}

brokers! { candor mosquitto rumqttd nats aedes amqtt }
