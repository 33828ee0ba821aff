//! What our own client and command line promise beside what every client does: how they find the extension, what they make of
//! servers that do not have it, and that nobody in between makes them take less in silence.

mod accept;
pub mod app;
mod command;
mod cuts;
mod doors;
mod offers;
mod old;

pub use app::App;

use super::Target;
use crate::outcome::Checked;
use crate::run::OWN;
use std::fmt;

/// The client's name in reports for what is about finding the extension.
pub const NEGOTIATION: &str = "negotiation";

/// The client's name in reports for what is about `candor` on the command line.
pub const COMMAND: &str = "command";

/// The brokers that a case is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Against {
    /// Those without the extension.
    Old,
    /// Ours.
    Own,
    Any,
}

impl Against {
    pub fn holds(self, broker: &str) -> bool {
        match self {
            Against::Old => broker != OWN,
            Against::Own => broker == OWN,
            Against::Any => true,
        }
    }
}

impl fmt::Display for Against {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Against::Old => "other people's brokers",
            Against::Own => "our broker",
            Against::Any => "every broker",
        })
    }
}

/// A promise of our client.
#[derive(Debug)]
pub struct OurCase {
    /// The promise, as the name of the function.
    pub name: &'static str,
    /// [`NEGOTIATION`] or [`COMMAND`].
    pub about: &'static str,
    pub against: Against,
    pub run: fn(&Target) -> Checked,
}

/// Hands the whole list to a macro: `ABOUT Against module::function,` for each case.
#[macro_export]
macro_rules! for_each_own_case {
    ($callback:ident) => {
        $callback! {
            NEGOTIATION Old old::an_offer_is_declined_and_the_connection_serves_on,
            NEGOTIATION Old old::a_declined_offer_is_told_with_what_is_missing,
            NEGOTIATION Old old::an_offer_is_seen_by_nobody_else,
            NEGOTIATION Old old::an_offer_leaves_a_stored_session_and_its_queue_alone,
            NEGOTIATION Old old::an_offer_does_not_cost_a_will,
            NEGOTIATION Old old::a_client_that_never_asks_sends_plain_bytes_alone,
            NEGOTIATION Old old::a_client_that_requires_the_extension_fails_with_a_typed_error,
            NEGOTIATION Old old::a_client_that_requires_a_profile_fails_with_a_typed_error,
            NEGOTIATION Old old::a_failed_requirement_takes_nobody_over,
            NEGOTIATION Old old::a_failed_requirement_arms_no_will,
            NEGOTIATION Old old::a_failed_requirement_wipes_no_stored_session,
            NEGOTIATION Old old::tls_with_two_alpn_ids_ends_in_plain_mqtt,
            NEGOTIATION Old old::a_websocket_with_two_subprotocols_ends_in_plain_mqtt,

            NEGOTIATION Own doors::an_offer_over_clear_tcp_is_accepted_without_another_round_trip,
            NEGOTIATION Own doors::a_client_that_requires_the_extension_begins_with_it,
            NEGOTIATION Own doors::a_client_that_never_asks_gets_plain_bytes_alone,
            NEGOTIATION Own doors::tls_selects_the_extension_by_alpn,
            NEGOTIATION Own doors::a_websocket_selects_the_extension_by_its_subprotocol,
            NEGOTIATION Own doors::behind_a_front_that_strips_alpn_the_offer_is_accepted,
            NEGOTIATION Own doors::a_server_that_proved_itself_is_spoken_to_in_the_extension_behind_a_front_that_strips_alpn,
            NEGOTIATION Own doors::a_server_that_proved_itself_and_now_hangs_up_is_never_taken_plain,
            NEGOTIATION Own doors::a_requirement_that_cannot_be_kept_is_refused_with_the_clause_and_wipes_nothing,

            NEGOTIATION Own offers::what_is_not_exactly_an_offer_gets_an_ordinary_unsuback,
            NEGOTIATION Own offers::an_offer_that_is_not_confirmed_leaves_the_connection_plain,
            NEGOTIATION Own offers::a_refused_connect_gets_its_plain_connack_and_nothing_more,

            NEGOTIATION Own accept::an_accept_that_is_dropped_leaves_a_plain_connection_and_that_is_told,
            NEGOTIATION Own accept::an_accept_that_is_stripped_leaves_a_plain_connection_and_that_is_told,
            NEGOTIATION Own accept::a_server_that_spoke_before_and_seems_to_decline_is_told_as_such,
            NEGOTIATION Own accept::an_accept_that_is_shortened_is_a_typed_error,
            NEGOTIATION Own accept::an_accept_that_is_forged_is_a_typed_error,
            NEGOTIATION Own accept::an_accept_that_is_replayed_is_a_typed_error,
            NEGOTIATION Own accept::a_flipped_bit_anywhere_in_the_accept_is_never_lived_with,
            NEGOTIATION Own accept::an_accept_that_comes_after_the_no_is_a_typed_error,
            NEGOTIATION Own accept::an_accept_that_is_delayed_is_waited_for,
            NEGOTIATION Own accept::pings_answered_in_between_never_make_an_accept_a_silent_no,
            NEGOTIATION Own accept::an_offer_that_is_swallowed_leaves_a_plain_connection_and_that_is_told,
            NEGOTIATION Own accept::a_connect_that_is_changed_on_the_way_is_a_typed_error,
            NEGOTIATION Own accept::an_offer_that_is_changed_on_the_way_is_never_a_silent_yes,
            NEGOTIATION Own accept::a_confirm_that_is_changed_on_the_way_ends_the_connection,

            NEGOTIATION Own cuts::a_cut_after_connect_is_no_reason_to_ask_for_less,
            NEGOTIATION Own cuts::a_cut_after_connack_is_tried_once_without_an_offer_and_told_and_remembered,
            NEGOTIATION Own cuts::a_cut_before_the_accept_is_tried_once_without_an_offer_and_told_and_remembered,
            NEGOTIATION Own cuts::a_cut_after_the_accept_comes_back_extended,
            NEGOTIATION Own cuts::a_cut_before_the_confirm_comes_back_extended,
            NEGOTIATION Own cuts::a_cut_after_the_confirm_comes_back_extended,
            NEGOTIATION Own cuts::a_cut_at_any_packet_of_the_opening_loses_and_doubles_no_queued_message,
            NEGOTIATION Own cuts::a_server_that_falls_silent_in_the_opening_is_given_up_and_not_taken_plain,

            COMMAND Any command::pub_and_sub_carry_a_message_at_every_qos,
            COMMAND Any command::sub_drains_the_queue_of_its_stored_session,
            COMMAND Any command::probe_says_which_dialects_there_are,
            COMMAND Own command::a_required_dialect_is_had_where_it_is,
            COMMAND Old command::a_required_dialect_that_is_not_there_has_exit_state_5,
        }
    };
}

macro_rules! table {
    ($($about:ident $against:ident $module:ident::$name:ident,)*) => {
        /// Every case of our own client and command line.
        pub static OURS: &[OurCase] =
            &[$(OurCase { name: stringify!($name), about: $about, against: Against::$against, run: $module::$name }),*];
    };
}
for_each_own_case!(table);
