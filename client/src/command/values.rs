//! Values of flags: text that becomes typed, with errors that say what is allowed.

use crate::options::Policy;
use candor_protocol::packet::Qos;

pub(super) fn qos(text: &str) -> Result<Qos, String> {
    text.parse().ok().and_then(Qos::new).ok_or_else(|| "allowed: 0, 1, 2".to_owned())
}

/// The names of `--dialect`, and those that `mosquitto_pub -V` has for the same.
pub(super) fn dialect(text: &str) -> Result<Policy, String> {
    match text {
        "auto" => Ok(Policy::Prefer),
        "extended" => Ok(Policy::Require),
        "3.1.1" | "311" | "mqttv311" | "4" => Ok(Policy::Plain),
        "3.1" | "31" | "mqttv31" | "3" => Ok(Policy::Plain31),
        "5" | "mqttv5" => Err("MQTT 5 is not spoken here; allowed: auto, extended, 3.1.1, 3.1".to_owned()),
        _ => Err("allowed: auto, extended, 3.1.1, 3.1".to_owned()),
    }
}

/// `KEY=VALUE`.
pub(super) fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("the form is KEY=VALUE".to_owned()),
    }
}
