//! The statements of MQTT 3.1.1 about servers, as far as they can be seen from the wire: one test a promise, byte for
//! byte, over a raw socket. Each names the statements it proves.

mod connect;
mod probes;
mod publish;
mod retain;
mod session;
mod sever;
mod subscribe;
mod text;
mod topics;
mod unseen;
mod will;

use super::Target;
use crate::outcome::Checked;

pub use unseen::{SERVER_IDS, UNSEEN};

/// One test of the behaviour of a server.
#[derive(Debug)]
pub struct Statement {
    /// The promise, as the name of the function.
    pub name: &'static str,
    /// Statements of the standard, without brackets; none where the promise is our own.
    pub ids: &'static [&'static str],
    pub run: fn(&Target) -> Checked,
}

/// Hands the whole list to a macro: `module::function: "id" "id",` for each test.
#[macro_export]
macro_rules! for_each_statement {
    ($callback:ident) => {
        $callback! {
            text::ill_formed_utf8_in_a_topic_closes: "MQTT-1.5.3-1" "MQTT-3.3.2-1",
            text::ill_formed_utf8_in_a_filter_closes: "MQTT-1.5.3-1",
            text::ill_formed_utf8_in_connect_is_refused: "MQTT-1.5.3-1",
            text::nul_in_a_topic_or_filter_closes: "MQTT-1.5.3-2" "MQTT-4.7.3-2",
            text::nul_in_a_client_identifier_is_refused: "MQTT-1.5.3-2",
            text::a_byte_order_mark_is_kept: "MQTT-1.5.3-3",
            text::the_servers_packets_have_the_flags_of_the_table: "MQTT-2.2.2-1",
            text::wrong_flags_close: "MQTT-2.2.2-2",
            text::connect_with_wrong_flags_is_refused: "MQTT-2.2.2-2",
            text::pubrel_with_wrong_flags_closes: "MQTT-3.6.1-1",
            text::subscribe_with_wrong_flags_closes: "MQTT-3.8.1-1",
            text::unsubscribe_with_wrong_flags_closes: "MQTT-3.10.1-1",
            text::disconnect_with_wrong_flags_is_no_disconnect: "MQTT-3.14.1-1",
            text::a_packet_identifier_of_zero_closes: "MQTT-2.3.1-1",
            text::open_deliveries_have_different_identifiers_and_keep_them: "MQTT-2.3.1-1" "MQTT-2.3.1-4",
            text::a_qos_0_publish_has_no_identifier: "MQTT-2.3.1-5",
            text::acknowledgements_repeat_the_identifier: "MQTT-2.3.1-6",
            text::suback_and_unsuback_repeat_the_identifier: "MQTT-2.3.1-7" "MQTT-3.8.4-2",

            connect::a_first_packet_other_than_connect_closes: "MQTT-3.1.0-1",
            connect::a_second_connect_closes: "MQTT-3.1.0-2",
            connect::a_wrong_protocol_name_is_not_served: "MQTT-3.1.2-1",
            connect::an_unsupported_level_gets_code_1_and_the_close: "MQTT-3.1.2-2",
            connect::the_reserved_connect_flag_closes: "MQTT-3.1.2-3",
            connect::contradicting_will_flags_close_without_connack: "MQTT-3.1.4-1" "MQTT-3.2.2-6",
            connect::a_password_without_user_name_closes_without_connack: "MQTT-3.1.4-1" "MQTT-3.2.2-6",
            connect::a_connect_that_ends_early_closes_without_connack: "MQTT-3.1.4-1" "MQTT-3.2.2-6",
            connect::silence_for_one_and_a_half_keep_alives_is_a_network_failure: "MQTT-3.1.2-24",
            connect::pings_within_the_keep_alive_keep_the_connection: "MQTT-3.1.2-24",
            connect::a_keep_alive_of_zero_turns_it_off: "MQTT-3.1.2-24",
            connect::client_ids_of_1_to_23_letters_and_digits_are_let_in: "MQTT-3.1.3-5",
            connect::empty_client_ids_become_unique_ones: "MQTT-3.1.3-6",
            connect::an_empty_client_id_with_a_stored_session_gets_code_2_and_the_close: "MQTT-3.1.3-8" "MQTT-3.1.3-9",
            connect::a_client_id_already_connected_ends_the_earlier_connection: "MQTT-3.1.4-2",
            connect::a_valid_connect_gets_connack_0: "MQTT-3.1.4-4" "MQTT-7.1.1-1",
            connect::nothing_behind_a_refused_connect_is_processed: "MQTT-3.1.4-5",
            connect::the_servers_first_packet_is_connack: "MQTT-3.2.0-1",
            connect::a_clean_session_is_never_present: "MQTT-3.2.2-1",
            connect::a_stored_session_is_present_when_it_is_resumed: "MQTT-3.2.2-2",
            connect::a_new_stored_session_is_not_present: "MQTT-3.2.2-3",
            connect::a_refusal_has_session_present_0_and_closes: "MQTT-3.2.2-4" "MQTT-3.2.2-5",

            session::a_stored_session_carries_on: "MQTT-3.1.2-4" "MQTT-4.1.0-1",
            session::a_stored_session_gets_the_qos_1_and_2_messages_of_its_absence: "MQTT-3.1.2-5",
            session::a_stored_session_survives_a_lost_connection: "MQTT-4.1.0-1" "MQTT-4.1.0-2",
            session::a_clean_session_forgets_the_stored_one: "MQTT-3.1.2-6" "MQTT-3.1.4-3",
            session::a_clean_session_ends_with_its_connection: "MQTT-3.1.2-6",
            session::retained_messages_outlive_the_session_they_came_from: "MQTT-3.1.2-7",
            session::the_client_id_names_the_session: "MQTT-3.1.3-2",

            will::a_lost_connection_publishes_the_will: "MQTT-3.1.2-8",
            will::a_close_without_disconnect_publishes_the_will: "MQTT-3.1.2-8",
            will::a_protocol_violation_publishes_the_will: "MQTT-3.1.2-8",
            will::a_will_is_published_once: "MQTT-3.1.2-10",
            will::disconnect_discards_the_will: "MQTT-3.1.2-10" "MQTT-3.14.4-3",
            will::without_a_will_nothing_is_published: "MQTT-3.1.2-12",
            will::a_will_without_retain_is_not_retained: "MQTT-3.1.2-16",
            will::a_will_with_retain_is_retained: "MQTT-3.1.2-17",

            publish::a_repeated_publish_has_dup: "MQTT-3.3.1-1",
            publish::dup_on_qos_0_closes: "MQTT-3.3.1-2",
            publish::an_incoming_dup_is_not_passed_on: "MQTT-3.3.1-3",
            publish::qos_3_closes: "MQTT-3.3.1-4",
            publish::a_publish_that_may_be_refused_is_acknowledged_or_closed_on: "MQTT-3.3.5-2",
            publish::a_wildcard_in_a_publish_topic_closes: "MQTT-3.3.2-2" "MQTT-4.7.1-1",
            publish::a_delivered_topic_matches_the_filter: "MQTT-3.3.2-3",
            publish::each_qos_is_answered_as_it_is_due: "MQTT-3.3.4-1",
            publish::overlapping_subscriptions_deliver_by_the_highest_qos: "MQTT-3.3.5-1",
            publish::as_sender_qos_0_is_a_publish_without_dup: "MQTT-4.3.1-1" "MQTT-3.3.1-2",
            publish::as_sender_qos_1_is_open_until_puback: "MQTT-4.3.2-1" "MQTT-4.4.0-1",
            publish::as_receiver_qos_1_takes_the_identifier_anew_after_puback: "MQTT-4.3.2-2",
            publish::as_sender_qos_2_is_publish_until_pubrec_and_pubrel_until_pubcomp: "MQTT-4.3.3-1" "MQTT-4.4.0-1",
            publish::as_receiver_qos_2_delivers_once_until_pubrel: "MQTT-4.3.3-2",
            publish::a_repeated_pubrel_gets_pubcomp_again: "MQTT-4.3.3-2",
            publish::every_matching_session_gets_the_message: "MQTT-4.5.0-1",
            publish::pubacks_go_in_the_order_of_the_publishes: "MQTT-4.6.0-2",
            publish::pubrecs_go_in_the_order_of_the_publishes: "MQTT-4.6.0-3",
            publish::pubrels_go_in_the_order_of_the_pubrecs: "MQTT-4.6.0-4",
            publish::what_is_open_is_sent_again_in_order: "MQTT-4.6.0-1",
            publish::a_publisher_and_topic_stay_in_order_at_every_qos: "MQTT-4.6.0-5" "MQTT-4.6.0-6",

            sever::a_publisher_cut_after_publish_loses_and_doubles_nothing: "MQTT-4.3.3-2",
            sever::a_publisher_cut_before_pubrec_came_loses_and_doubles_nothing: "MQTT-4.3.3-2",
            sever::a_publisher_cut_after_pubrec_loses_and_doubles_nothing: "MQTT-4.3.3-2",
            sever::a_publisher_cut_after_pubrel_loses_and_doubles_nothing: "MQTT-4.3.3-2",
            sever::a_subscriber_cut_after_publish_loses_and_doubles_nothing: "MQTT-4.3.3-1" "MQTT-4.4.0-1",
            sever::a_subscriber_cut_after_pubrec_loses_and_doubles_nothing: "MQTT-4.3.3-1" "MQTT-4.4.0-1",
            sever::a_subscriber_cut_after_pubrel_loses_and_doubles_nothing: "MQTT-4.3.3-1" "MQTT-4.4.0-1",
            sever::a_subscriber_cut_after_pubcomp_loses_and_doubles_nothing: "MQTT-4.3.3-1" "MQTT-4.4.0-1",
            sever::open_exchanges_survive_a_restart: "MQTT-4.1.0-1",
            sever::open_exchanges_survive_a_crash: "MQTT-4.1.0-1",

            probes::a_websocket_that_is_closed_takes_nobody_with_it:,
            probes::an_unusual_connect_is_served_or_closed_and_never_left_hanging:,
            probes::what_follows_an_unusual_connect_is_in_step:,
            probes::an_unsubscribe_in_the_same_write_as_connect_is_answered_in_order: "MQTT-3.10.4-4" "MQTT-3.10.4-5",
            probes::a_long_filter_is_unsubscribed_like_any: "MQTT-3.10.4-5",
            probes::an_unusual_packet_is_answered_or_closed_on_and_never_left_hanging:,

            retain::a_retained_message_is_stored_with_its_qos: "MQTT-3.3.1-5",
            retain::a_new_subscription_gets_the_last_retained_message_of_each_topic: "MQTT-3.3.1-6",
            retain::a_retained_qos_0_message_drops_the_stored_one: "MQTT-3.3.1-7",
            retain::retain_is_1_on_messages_because_of_a_new_subscription: "MQTT-3.3.1-8",
            retain::retain_is_0_on_messages_to_a_subscription_that_stood: "MQTT-3.3.1-9",
            retain::an_empty_retained_message_is_delivered_and_removes_the_stored_one: "MQTT-3.3.1-10",
            retain::an_empty_message_is_not_stored: "MQTT-3.3.1-11",
            retain::without_retain_nothing_stored_changes: "MQTT-3.3.1-12",

            subscribe::reserved_bits_in_a_requested_qos_close: "MQTT-3-8.3-4",
            subscribe::a_subscribe_without_filters_closes: "MQTT-3.8.3-3",
            subscribe::an_unsubscribe_without_filters_closes: "MQTT-3.10.3-2",
            subscribe::subscribe_is_answered_by_suback_with_its_id: "MQTT-3.8.4-1" "MQTT-3.8.4-2",
            subscribe::an_identical_filter_replaces_the_subscription: "MQTT-3.8.4-3",
            subscribe::replacing_a_subscription_loses_nothing: "MQTT-3.8.4-3",
            subscribe::many_filters_get_one_suback_with_a_code_each_in_order: "MQTT-3.8.4-4" "MQTT-3.8.4-5" "MQTT-3.9.3-1",
            subscribe::suback_codes_are_those_of_the_table: "MQTT-3.9.3-2",
            subscribe::the_delivered_qos_is_the_lower_of_published_and_granted: "MQTT-3.8.4-6",
            subscribe::filters_are_compared_character_by_character: "MQTT-3.10.4-1",
            subscribe::a_deleted_subscription_gets_no_new_messages: "MQTT-3.10.4-2",
            subscribe::deliveries_begun_are_finished_after_unsubscribe: "MQTT-3.10.4-3",
            subscribe::unsubscribe_is_answered_by_unsuback_with_its_id: "MQTT-3.10.4-4",
            subscribe::unsuback_comes_even_where_nothing_was_deleted: "MQTT-3.10.4-5",
            subscribe::many_filters_in_unsubscribe_get_one_unsuback: "MQTT-3.10.4-6",
            subscribe::pingreq_is_answered_by_pingresp: "MQTT-3.12.4-1",
            subscribe::the_server_closes_after_disconnect: "MQTT-3.14.4-1",
            subscribe::a_violation_closes_only_its_own_connection: "MQTT-4.8.0-1",
            subscribe::a_packet_that_only_servers_send_closes: "MQTT-4.8.0-1",

            topics::a_misplaced_hash_closes: "MQTT-4.7.1-2",
            topics::a_misplaced_plus_closes: "MQTT-4.7.1-3",
            topics::wildcards_match_as_in_the_examples: "MQTT-4.7.1-2" "MQTT-4.7.1-3",
            topics::a_filter_that_begins_with_a_wildcard_does_not_match_dollar_topics: "MQTT-4.7.2-1",
            topics::empty_topics_and_filters_close: "MQTT-4.7.3-1",
            topics::a_topic_of_65535_bytes_is_taken: "MQTT-4.7.3-3",
            topics::topics_are_not_normalised: "MQTT-4.7.3-4",
            topics::a_websocket_text_frame_closes: "MQTT-6.0.0-1",
            topics::websocket_takes_packets_in_any_framing: "MQTT-6.0.0-2",
            topics::the_server_selects_the_websocket_subprotocol_mqtt: "MQTT-6.0.0-4",
        }
    };
}

macro_rules! table {
    ($($module:ident::$name:ident: $($id:literal)*,)*) => {
        /// Every test of a server.
        pub static STATEMENTS: &[Statement] =
            &[$(Statement { name: stringify!($name), ids: &[$($id),*], run: $module::$name }),*];
    };
}
for_each_statement!(table);

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_statement_about_servers_is_tested_or_said_to_be_unseen_with_a_reason() {
        let tested: BTreeSet<&str> = STATEMENTS.iter().flat_map(|statement| statement.ids).copied().collect();
        let unseen: BTreeSet<&str> = UNSEEN.iter().map(|(id, _)| *id).collect();
        let both: Vec<&&str> = tested.intersection(&unseen).collect();
        assert!(both.is_empty(), "tested and said to be unseen: {both:?}");
        let missing: Vec<&&str> = SERVER_IDS.iter().filter(|id| !tested.contains(*id) && !unseen.contains(*id)).collect();
        assert!(missing.is_empty(), "neither tested nor said to be unseen: {missing:?}");
        assert!(UNSEEN.iter().all(|(id, reason)| SERVER_IDS.contains(id) && !reason.is_empty()));
    }

    #[test]
    fn no_two_tests_have_the_same_name() {
        let names: BTreeSet<&str> = STATEMENTS.iter().map(|statement| statement.name).collect();
        assert_eq!(names.len(), STATEMENTS.len());
    }
}
