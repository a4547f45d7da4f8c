//! Which cases do not run on every kind of store, and which are known to fail.

use streamer_test_servers::Topology::{self, Cluster, Distant, Embedded, Redis, Tls};

use Fails::{Always, Sometimes};

const EVERYWHERE: &[Topology] = &[Redis, Tls, Cluster, Distant, Embedded];

/// Cases that say nothing about some stores.
pub(crate) struct NotHere {
    pub(crate) cases: &'static [&'static str],
    pub(crate) topologies: &'static [Topology],
    #[expect(dead_code, reason = "for whoever reads the list")]
    pub(crate) why: &'static str,
}

/// Every case runs on every kind of store except these.
pub(crate) const NOT_HERE: &[NotHere] = &[
    NotHere {
        cases: &[
            "a_failure_on_a_full_store_is_reported_and_listed_when_there_is_room",
            "a_listening_that_purges_starts_on_a_full_store_and_frees_it",
            "a_stop_on_a_full_store_does_not_take_the_grace_period",
        ],
        topologies: &[Embedded],
        why: "a file that is full can still be read and written to by what frees space, see `full::file`",
    },
    NotHere {
        cases: &["with_keep_alive_a_listening_begins_before_its_store_is_there"],
        topologies: &[Cluster, Embedded],
        why: "it kills the one server that there is",
    },
];

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
pub(crate) const KNOWN: &[Known] = &[
    Known {
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
        topologies: EVERYWHERE,
        fails: Sometimes,
    },
    Known {
        fault: "1: what the store does not know any more is dropped, or handled although others had it",
        cases: &[
            "a_deleted_consumer_loses_nothing_that_it_has",
            "a_destroyed_group_loses_nothing_that_live_consumers_have",
        ],
        topologies: EVERYWHERE,
        fails: Always,
    },
    Known {
        fault: "1: what the store does not know any more is dropped",
        cases: &[
            "what_is_trimmed_while_it_waits_is_handled",
            "what_a_deleted_stream_had_in_flight_is_handled",
            "what_others_handled_while_a_process_stood_still_is_not_repeated",
        ],
        topologies: EVERYWHERE,
        fails: Sometimes,
    },
    Known {
        fault: "4: a message that kills its process does so for ever",
        cases: &[
            "what_kills_the_process_is_listed_also_when_others_claim_it",
            "what_kills_the_process_is_listed_and_its_neighbours_are_handled",
            "what_kills_the_process_is_listed_with_four_workers",
            "what_kills_the_process_is_listed_with_three_attempts",
            "what_kills_the_process_is_listed_with_two_attempts",
        ],
        topologies: EVERYWHERE,
        fails: Always,
    },
    Known {
        fault: "5: what was read for a slot and not handed on is not renewed and not released",
        cases: &[
            "a_panic_of_a_retry_policy_ends_the_listening",
            "a_panic_of_the_archive_ends_with_an_error_and_others_get_the_rest",
            "a_panic_while_choosing_a_key_ends_with_an_error_and_others_get_the_rest",
            "a_panic_while_judging_an_error_ends_with_an_error_and_others_get_the_rest",
            "a_pause_amid_many_streams_handles_nothing_twice",
            "a_stop_amid_many_streams_leaves_nothing_behind",
            "an_error_amid_many_streams_leaves_nothing_behind",
        ],
        topologies: EVERYWHERE,
        fails: Sometimes,
    },
    Known {
        fault: "6: trouble with one stream or node holds up the others",
        cases: &[
            "a_key_of_another_kind_holds_up_no_other_stream",
            "a_node_that_is_gone_holds_up_no_other",
            "a_process_starts_while_a_node_is_gone",
            "a_stream_that_becomes_another_kind_of_key_holds_up_no_other",
            "a_stream_without_permission_holds_up_no_other",
        ],
        topologies: EVERYWHERE,
        fails: Always,
    },
    Known {
        fault: "7: a listening ends while messages are handled or retries wait, or before it has read",
        cases: &[
            "a_retry_that_waits_is_not_quiet",
            "a_slow_network_is_not_quiet",
            "a_slow_network_is_not_quiet_without_a_group",
            "slow_listeners_are_not_quiet",
        ],
        topologies: EVERYWHERE,
        fails: Always,
    },
    Known {
        fault: "7: the same without a group",
        cases: &["without_a_group_a_retry_that_waits_is_not_quiet"],
        topologies: EVERYWHERE,
        fails: Sometimes,
    },
    Known {
        fault: "9: clean stops count as attempts",
        cases: &[
            "clean_stops_count_as_no_attempts",
            "clean_stops_of_a_consumer_with_a_name_count_as_no_attempts",
        ],
        topologies: EVERYWHERE,
        fails: Always,
    },
    Known {
        fault: "10 and 11: consumers of dead processes stay, and two with one name are not noticed",
        cases: &[
            "a_consumer_with_a_name_and_a_quiet_live_one_stay",
            "consumers_of_dead_processes_are_removed_when_nothing_is_pending_with_them",
            "two_processes_with_one_name_are_noticed",
        ],
        topologies: EVERYWHERE,
        fails: Always,
    },
    Known {
        fault: "12: a full store",
        cases: &[
            "a_failure_on_a_full_store_is_reported_and_listed_when_there_is_room",
            "a_listening_that_purges_starts_on_a_full_store_and_frees_it",
            "a_stop_on_a_full_store_does_not_take_the_grace_period",
        ],
        topologies: EVERYWHERE,
        fails: Always,
    },
    Known {
        fault: "14: a failure costs round trips of its own",
        cases: &[
            "failures_cost_round_trips_by_the_batch",
            "retries_cost_round_trips_by_the_batch",
        ],
        topologies: &[Distant],
        fails: Always,
    },
    Known {
        fault: "15: without a group, what waits for a retry is kept without a limit, with its read buffer",
        cases: &[
            "what_waits_keeps_no_read_buffer_alive",
            "without_a_group_what_waits_for_a_retry_is_bounded",
        ],
        topologies: EVERYWHERE,
        fails: Sometimes,
    },
    Known {
        fault: "19: retries wait by the wall clock",
        cases: &[
            "a_clock_that_is_set_back_delays_no_retry",
            "a_process_whose_clock_is_behind_waits_no_longer",
        ],
        topologies: EVERYWHERE,
        fails: Always,
    },
];
