//! The statements of MQTT 3.1.1 about clients, as far as a server can see them: each test is a script that plays the
//! server, byte for byte.

mod connect;
pub mod duel;
mod messages;
mod resume;
mod unseen;
mod violations;
mod websocket;

pub use duel::Duel;
pub use unseen::{CLIENT_IDS, UNSEEN};

use crate::outcome::Checked;

/// One test of the behaviour of a client.
#[derive(Debug)]
pub struct ClientStatement {
    /// The promise, as the name of the function.
    pub name: &'static str,
    /// Statements of the standard, without brackets.
    pub ids: &'static [&'static str],
    pub run: fn(&Duel) -> Checked,
}

/// Hands the whole list to a macro: `module::function: "id" "id",` for each test.
#[macro_export]
macro_rules! for_each_client_statement {
    ($callback:ident) => {
        $callback! {
            connect::connect_is_the_first_packet_and_well_formed:
                "MQTT-3.1.0-1" "MQTT-3.1.3-1" "MQTT-3.1.3-2" "MQTT-3.1.3-3" "MQTT-3.1.3-4",
            connect::clean_session_is_sent_as_asked: "MQTT-3.1.2-4" "MQTT-3.1.2-6",
            connect::without_a_will_its_bits_are_zero: "MQTT-3.1.2-11" "MQTT-3.1.2-13" "MQTT-3.1.2-15",
            connect::a_will_is_in_the_payload_with_its_qos_and_retain: "MQTT-3.1.2-9" "MQTT-3.1.2-14" "MQTT-3.1.3-10",
            connect::without_credentials_their_flags_are_zero: "MQTT-3.1.2-18" "MQTT-3.1.2-20",
            connect::credentials_are_in_the_payload_in_order: "MQTT-3.1.2-19" "MQTT-3.1.2-21" "MQTT-3.1.3-1" "MQTT-3.1.3-11",
            connect::a_password_is_never_sent_without_a_user_name: "MQTT-3.1.2-22",
            connect::an_empty_client_id_goes_with_clean_session_only: "MQTT-3.1.3-7",
            connect::silence_is_broken_by_a_ping_in_time: "MQTT-3.1.2-23",
            connect::a_refusal_is_told_and_nothing_is_sent_after_it: "MQTT-4.8.0-1",
            connect::disconnect_is_the_last_packet_and_the_client_closes: "MQTT-3.14.4-1" "MQTT-3.14.4-2",
            connect::a_connection_without_connack_is_not_taken_for_open: "MQTT-4.8.0-1",

            messages::qos_0_is_a_publish_without_dup_and_identifier: "MQTT-2.3.1-5" "MQTT-3.3.1-2" "MQTT-4.3.1-1",
            messages::qos_1_is_complete_with_puback: "MQTT-2.2.2-1" "MQTT-2.3.1-1" "MQTT-4.3.2-1" "MQTT-3.3.2-1",
            messages::qos_2_goes_through_its_four_packets: "MQTT-2.2.2-1" "MQTT-3.6.1-1" "MQTT-4.3.3-1",
            messages::retain_is_sent_as_asked: "MQTT-2.2.2-1",
            messages::open_requests_have_different_identifiers: "MQTT-2.3.1-2",
            messages::publications_go_out_in_order: "MQTT-4.6.0-1",
            messages::pubrels_go_in_the_order_of_the_pubrecs: "MQTT-4.6.0-4",
            messages::a_wildcard_is_never_sent_in_a_topic: "MQTT-3.3.2-2" "MQTT-4.7.1-1",
            messages::an_empty_topic_is_never_sent: "MQTT-4.7.3-1",
            messages::a_topic_with_nul_is_never_sent: "MQTT-1.5.3-2" "MQTT-4.7.3-2",
            messages::a_topic_over_65535_bytes_is_never_sent: "MQTT-4.7.3-3",
            messages::a_misplaced_wildcard_is_never_sent_in_a_filter: "MQTT-4.7.1-2" "MQTT-4.7.1-3",
            messages::a_subscribe_without_filters_is_never_sent: "MQTT-3.8.3-3",
            messages::subscribe_has_its_flags_filters_and_qos: "MQTT-3.8.1-1" "MQTT-3.8.3-1",
            messages::the_codes_of_suback_are_told: "MQTT-3.8.3-1",
            messages::unsubscribe_has_its_flags_and_filters: "MQTT-3.10.1-1" "MQTT-3.10.3-1" "MQTT-3.10.3-2",
            messages::each_qos_is_answered_with_its_identifier: "MQTT-2.3.1-6" "MQTT-3.3.4-1" "MQTT-4.5.0-2",
            messages::acknowledgements_go_in_the_order_of_the_publishes: "MQTT-4.6.0-2" "MQTT-4.6.0-3",
            messages::qos_2_is_delivered_once_until_pubrel: "MQTT-4.3.3-2",
            messages::qos_1_takes_the_identifier_anew_after_puback: "MQTT-4.3.2-2",
            messages::a_byte_order_mark_is_kept: "MQTT-1.5.3-3",
            messages::packets_are_found_in_any_split_of_the_bytes: "MQTT-3.3.4-1" "MQTT-7.1.2-1",

            violations::ill_formed_utf8_in_a_topic_closes: "MQTT-1.5.3-1",
            violations::nul_in_a_topic_closes: "MQTT-1.5.3-2",
            violations::wrong_flags_close: "MQTT-2.2.2-2",
            violations::pubrel_with_wrong_flags_closes: "MQTT-2.2.2-2",
            violations::qos_3_closes: "MQTT-3.3.1-4",
            violations::a_packet_identifier_of_zero_closes: "MQTT-2.3.1-1",
            violations::a_wildcard_in_a_topic_closes: "MQTT-3.3.2-2" "MQTT-4.8.0-1",
            violations::an_empty_topic_closes: "MQTT-4.7.3-1",
            violations::a_reserved_packet_type_closes: "MQTT-4.8.0-1",
            violations::a_packet_that_only_clients_send_closes: "MQTT-4.8.0-1",

            resume::an_open_qos_1_publish_is_sent_again_with_dup_and_its_identifier: "MQTT-2.3.1-3" "MQTT-3.3.1-1" "MQTT-4.4.0-1",
            resume::an_open_qos_2_publish_is_sent_again_until_pubrec: "MQTT-2.3.1-3" "MQTT-4.3.3-1" "MQTT-4.4.0-1",
            resume::after_pubrec_only_pubrel_is_sent_again: "MQTT-4.3.3-1" "MQTT-4.4.0-1",
            resume::what_is_open_is_sent_again_in_order: "MQTT-4.6.0-1",
            resume::a_qos_2_message_sent_again_is_delivered_once: "MQTT-4.1.0-1" "MQTT-4.3.3-2",
            resume::a_qos_2_message_released_after_the_loss_is_delivered_once: "MQTT-4.1.0-1" "MQTT-4.3.3-2",
            resume::a_session_that_the_server_lost_starts_anew: "MQTT-4.1.0-2",

            websocket::the_subprotocol_mqtt_is_offered: "MQTT-6.0.0-3",
            websocket::packets_need_not_fit_frames: "MQTT-6.0.0-2",
            websocket::a_text_frame_closes: "MQTT-6.0.0-1",
        }
    };
}

macro_rules! table {
    ($($module:ident::$name:ident: $($id:literal)+,)*) => {
        /// Every test of a client.
        pub static CLIENT_STATEMENTS: &[ClientStatement] =
            &[$(ClientStatement { name: stringify!($name), ids: &[$($id),+], run: $module::$name }),*];
    };
}
for_each_client_statement!(table);

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_statement_about_clients_is_tested_or_said_to_be_unseen_with_a_reason() {
        let tested: BTreeSet<&str> = CLIENT_STATEMENTS.iter().flat_map(|statement| statement.ids).copied().collect();
        let unseen: BTreeSet<&str> = UNSEEN.iter().map(|(id, _)| *id).collect();
        let missing: Vec<&&str> = CLIENT_IDS.iter().filter(|id| !tested.contains(*id) && !unseen.contains(*id)).collect();
        assert!(missing.is_empty(), "neither tested nor said to be unseen: {missing:?}");
        assert!(UNSEEN.iter().all(|(id, reason)| CLIENT_IDS.contains(id) && !tested.contains(id) && !reason.is_empty()));
    }
}
