//! The cases: each is a promise, run on every pair of peers that it applies to.
//!
//! | cases | of | where |
//! | --- | --- | --- |
//! | [`CASES`] | a client with a broker | the files of this folder |
//! | [`statements::STATEMENTS`] | a broker, byte for byte | [`statements`] |
//! | [`client_statements::CLIENT_STATEMENTS`] | a client, byte for byte | [`client_statements`] |
//! | [`mixed::MIXED`] | other people's client beside extended ones, on our broker | [`mixed`] |
//! | [`ours::OURS`] | our client and command line, with a broker | [`ours`] |

pub mod client_statements;
mod connection;
pub mod coverage;
mod delivery;
pub mod mixed;
pub mod ours;
mod resume;
mod sessions;
pub mod stage;
pub mod statements;
mod subscriptions;
pub mod target;
mod transports;

pub use stage::Stage;
pub use target::Target;

use crate::outcome::Checked;

/// A promise to a client by a broker.
#[derive(Debug)]
pub struct Case {
    /// The promise, as the name of the function.
    pub name: &'static str,
    pub run: fn(&Stage) -> Checked,
}

/// Hands the whole list to a macro: `module::function,` for each case.
#[macro_export]
macro_rules! for_each_case {
    ($callback:ident) => {
        $callback! {
            delivery::qos_0_to_a_subscription_at_0,
            delivery::qos_0_to_a_subscription_at_1,
            delivery::qos_0_to_a_subscription_at_2,
            delivery::qos_1_to_a_subscription_at_0,
            delivery::qos_1_to_a_subscription_at_1,
            delivery::qos_1_to_a_subscription_at_2,
            delivery::qos_2_to_a_subscription_at_0,
            delivery::qos_2_to_a_subscription_at_1,
            delivery::qos_2_to_a_subscription_at_2,
            delivery::a_retained_message_reaches_a_new_subscriber_with_retain,
            delivery::a_live_retained_message_comes_without_retain,
            delivery::a_retained_message_is_replaced_by_the_next,
            delivery::an_empty_retained_message_clears_the_topic,
            delivery::retained_messages_come_for_every_match_of_a_wildcard,
            delivery::a_payload_of_a_mebibyte_is_intact,
            delivery::a_payload_of_every_byte_is_intact,
            delivery::an_empty_payload_is_delivered,
            delivery::topics_of_other_scripts_are_intact,
            delivery::plus_matches_one_level,
            delivery::hash_matches_the_level_itself_and_all_below,
            delivery::empty_levels_are_levels,
            delivery::wildcards_at_the_front_do_not_match_dollar_topics,
            subscriptions::overlapping_subscriptions_deliver_by_the_highest_qos,
            subscriptions::many_filters_in_one_subscribe_all_count,
            subscriptions::filters_in_one_subscribe_get_their_own_qos,
            subscriptions::after_unsubscribe_nothing_comes,
            subscriptions::many_filters_end_with_one_unsubscribe,
            subscriptions::unsubscribing_what_never_was_is_acknowledged,
            subscriptions::subscribing_again_replaces_the_subscription,
            subscriptions::a_shared_subscription_gives_each_message_to_one_member,
            connection::a_will_is_published_when_the_connection_is_lost,
            connection::a_will_is_not_published_after_disconnect,
            connection::a_retained_will_waits_for_new_subscribers,
            connection::the_same_client_id_takes_the_connection_over,
            connection::an_empty_client_id_with_a_clean_session_is_let_in,
            connection::a_client_id_of_200_bytes_is_let_in,
            connection::an_idle_client_stays_connected_by_its_keep_alive,
            sessions::an_offline_queue_at_qos_1_arrives_in_order,
            sessions::an_offline_queue_at_qos_2_arrives_in_order,
            sessions::a_resumed_session_is_present_and_a_new_one_is_not,
            sessions::subscriptions_of_a_stored_session_go_on,
            sessions::a_clean_session_forgets_the_stored_one,
            sessions::a_restart_keeps_sessions_queues_and_retained_messages,
            sessions::a_crash_keeps_what_was_acknowledged,
            resume::a_qos_1_publish_cut_before_puback_arrives,
            resume::a_qos_2_publish_cut_before_pubrec_arrives_once,
            resume::a_qos_2_publish_cut_before_pubrel_arrives_once,
            resume::a_qos_2_publish_cut_before_pubcomp_arrives_once,
            resume::a_qos_1_delivery_cut_before_puback_arrives,
            resume::a_qos_2_delivery_cut_before_pubrec_arrives_once,
            resume::a_qos_2_delivery_cut_before_pubrel_arrives_once,
            resume::a_qos_2_delivery_cut_before_pubcomp_arrives_once,
            transports::tls_carries_messages_both_ways,
            transports::websocket_carries_messages_both_ways,
            transports::websocket_over_tls_carries_messages_both_ways,
            transports::a_server_with_a_certificate_of_a_stranger_is_refused,
        }
    };
}

macro_rules! table {
    ($($module:ident::$name:ident,)*) => {
        /// Every case of a client with a broker.
        pub static CASES: &[Case] = &[$(Case { name: stringify!($name), run: $module::$name }),*];
    };
}
for_each_case!(table);
