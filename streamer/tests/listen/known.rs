//! Which cases do not run on every kind of store, and which are known to fail.

use streamer_test_servers::Topology::{self, Cluster, Distant, Embedded, Redis, Tls};

use Fails::Sometimes;

/// Cases that say nothing about some stores.
pub(crate) struct NotHere {
    pub(crate) cases: &'static [&'static str],
    pub(crate) topologies: &'static [Topology],
    #[expect(dead_code, reason = "for whoever reads the list")]
    pub(crate) why: &'static str,
}

/// Every case runs on every kind of store except these.
pub(crate) const NOT_HERE: &[NotHere] = &[];

/// Promises that are not kept yet.
pub(crate) struct Known {
    #[expect(dead_code, reason = "for whoever reads the list")]
    pub(crate) fault: &'static str,
    pub(crate) cases: &'static [&'static str],
    pub(crate) topologies: &'static [Topology],
    pub(crate) fails: Fails,
}

/// How often a case fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(dead_code, reason = "the list shrinks")]
pub(crate) enum Fails {
    /// It must fail: when it passes, the test fails until the case leaves the list.
    Always,
    /// It depends on what happens first.
    Sometimes,
}

/// Faults that are known. This list may only shrink.
pub(crate) const KNOWN: &[Known] = &[Known {
    fault: "7: a listening ends quiet before it has read, or while messages are handled",
    cases: &[
        "a_consumer_that_starts_again_handles_its_own_pending_messages_first",
        "a_group_handles_every_message_in_order_and_acknowledges_it",
        "a_listener_can_emit",
        "a_listener_can_end_the_listening_and_it_can_begin_again",
        "a_listener_that_becomes_slow_in_a_backlog_keeps_the_claim_on_all_that_was_read",
        "a_listening_after_an_id_goes_on_there",
        "a_listening_from_the_beginning_sees_what_was_there",
        "a_message_without_our_fields_is_handled",
        "a_new_group_can_begin_now",
        "a_payload_that_does_not_parse_is_its_listeners_failure",
        "a_retry_by_hand_settles_what_was_kept_pending",
        "a_stop_in_the_midst_of_a_backlog_keeps_nothing",
        "each_failure_is_recorded_for_its_listener_alone_and_the_message_acknowledged",
        "only_listeners_that_have_not_succeeded_run_again",
        "two_groups_each_get_every_message",
        "what_is_not_json_is_recorded_with_its_fields_and_holds_up_nothing",
        "what_was_not_begun_is_handed_back_at_once",
        "without_a_group_attempts_are_made_in_memory",
        "workers_handle_messages_at_once",
        "workers_per_key_keep_each_keys_order",
    ],
    topologies: &[Redis, Tls, Cluster, Distant, Embedded],
    fails: Sometimes,
}];
