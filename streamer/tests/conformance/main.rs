//! What every engine promises: one suite, run unchanged on each.
//!
//! A case is an `async fn case(engine: Arc<dyn Engine>)` in the module of its topic. It uses streams with names of its
//! own, because all cases may share one store. To run the suite on another engine, add a line `suite!` below.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

mod append;
mod beside;
mod bytes;
mod claim;
mod deliveries;
mod given;
mod groups;
mod idempotent;
mod info;
mod leases;
mod name_users;
mod pending;
mod range;
mod readers;
mod recorded;
mod removal;
mod retry_claims;
mod scheduled;
mod settling;
mod stores;
mod thousands;
mod trim;

macro_rules! cases {
    ($open:path; $($topic:ident { $($case:ident)* })*) => {
        $(mod $topic {
            $(#[tokio::test]
            async fn $case() {
                let store = $open().await;
                crate::$topic::$case(store.engine.clone()).await;
            })*
        })*
    };
}

macro_rules! suite {
    ($engine:ident) => {
        mod $engine {
            cases! { crate::stores::$engine;
                append {
                    ids_only_grow
                    appends_of_many_tasks_all_arrive
                    an_explicit_id_is_kept
                    an_id_not_greater_than_the_last_is_refused
                    zero_is_no_id
                    a_deleted_last_entry_still_bars_its_id
                    the_engine_numbers_entries_of_a_given_millisecond
                    without_create_stream_a_missing_stream_is_an_error
                    an_entry_without_fields_is_refused
                    a_batch_keeps_its_order
                    a_batch_of_short_and_long_entries_keeps_them_all
                    an_append_of_a_batch_trims_what_came_before_it
                    a_batch_over_many_streams_gives_ids_in_order
                    a_batch_tells_each_ones_lot
                    an_append_can_trim_in_the_same_step
                    deleting_tells_how_many_were_there
                }
                name_users {
                    two_that_use_a_name_see_each_other_and_who_came_first
                    other_names_groups_and_streams_have_marks_of_their_own
                    a_mark_goes_when_it_is_given_up_or_expires
                    hundreds_may_have_one_name
                }
                retry_claims {
                    one_owner_at_a_time_has_a_claim_and_may_renew_it
                    a_claim_that_is_not_renewed_ends_by_itself
                    of_many_that_claim_at_once_one_gets_it
                    a_member_of_the_failed_list_is_found
                }
                idempotent {
                    a_repeated_append_gives_the_first_entry
                    keys_and_streams_do_not_mix
                    many_tasks_append_one_entry
                    a_batch_appends_each_key_once_and_keeps_its_order
                    a_record_is_written_with_the_first_entry_only
                    a_window_that_is_over_lets_the_next_append_through
                    what_was_refused_is_not_remembered
                    a_key_of_any_bytes_is_a_key_and_a_long_or_empty_one_is_refused
                }
                scheduled {
                    nothing_is_appended_before_it_is_due
                    what_is_due_is_appended_once_however_many_try
                    entries_are_appended_in_the_order_in_which_they_are_due
                    a_moment_that_has_passed_appends_at_once
                    a_repeated_append_is_scheduled_once
                    what_is_cancelled_is_never_appended
                    streams_for_which_something_is_scheduled_are_found
                    what_is_scheduled_goes_with_its_stream
                    what_cannot_be_scheduled_is_refused
                    to_a_stream_that_is_there_it_can_be_scheduled_without_making_it
                    what_is_scheduled_holds_any_bytes
                    who_is_cut_off_while_appending_loses_and_doubles_nothing
                }
                range {
                    all_entries_oldest_first
                    reverse_gives_the_newest_first
                    bounds_are_inclusive_or_exclusive
                    count_limits_both_ways
                    a_missing_stream_is_empty
                    bounds_that_leave_nothing_give_nothing
                }
                trim {
                    exactly_the_newest_remain
                    exactly_those_from_an_id_on_remain
                    an_approximate_trim_never_cuts_too_much
                    trimming_to_nothing_keeps_the_stream_and_its_last_id
                    a_missing_stream_has_nothing_to_trim
                }
                removal {
                    a_removed_stream_is_gone_with_its_groups
                    what_is_no_stream_is_not_removed
                    what_is_kept_of_its_groups_goes_with_it
                }
                groups {
                    a_group_from_the_beginning_gets_everything
                    a_group_from_an_id_gets_what_comes_after
                    a_group_from_now_gets_only_what_is_new
                    a_group_that_exists_is_left_as_it_is
                    a_group_needs_a_stream_or_makes_it
                    moving_a_group_back_delivers_again
                    moving_a_missing_group_is_an_error
                    destroying_tells_whether_it_was_there
                    a_consumer_with_pending_entries_is_not_removed
                    a_consumer_that_is_done_is_removed
                }
                pending {
                    what_was_read_is_pending_until_acknowledged
                    acknowledging_what_is_not_pending_is_passed_over
                    many_streams_are_acknowledged_at_once
                    the_summary_counts_by_consumer
                    the_list_filters_by_range_consumer_and_idle_time
                    idle_time_grows
                    reading_ones_own_again_counts_a_delivery
                    reading_ones_own_again_pages_by_id
                    reading_ones_own_again_leaves_other_consumers_alone
                    a_deleted_entry_stays_pending_and_is_named
                    a_missing_group_is_an_error
                }
                claim {
                    a_claim_takes_what_is_idle_and_counts_a_delivery
                    a_claim_leaves_what_is_not_idle_enough
                    a_claim_passes_over_what_is_not_pending
                    a_claim_names_deleted_entries_and_drops_them
                    an_auto_claim_takes_what_is_idle
                    an_auto_claim_goes_on_at_its_cursor
                    an_auto_claim_names_deleted_entries_and_drops_them
                    an_auto_claim_takes_the_callers_own_too
                    delivery_counts_are_those_of_the_claimed_entries
                    renewing_keeps_others_from_claiming
                    renewing_does_not_count_a_delivery
                    renewing_leaves_what_another_has_claimed
                    renewing_passes_over_what_was_acknowledged
                    a_large_idle_time_hands_over_at_once
                    a_missing_group_is_an_error
                }
                info {
                    a_missing_stream_has_no_info
                    a_stream_tells_its_length_and_ends
                    the_last_id_outlives_its_entry
                    a_stream_counts_what_was_ever_added
                    groups_tell_lag_and_entries_read
                    consumers_tell_what_is_pending
                    consumers_of_a_missing_group_are_an_error
                    full_info_tells_it_all
                    a_location_and_warnings_can_be_asked_for
                }
                readers {
                    a_plain_reader_begins_after_its_position
                    a_message_arriving_between_two_reads_is_not_lost
                    a_quiet_stream_beside_a_busy_one_keeps_its_place
                    count_limits_each_stream
                    without_a_wait_a_reader_returns_at_once
                    a_wait_ends_by_itself
                    a_waiting_plain_reader_wakes_on_an_append
                    a_waiting_group_reader_wakes_on_an_append
                    a_reader_waits_for_a_stream_that_is_not_there_yet
                    an_interrupter_ends_a_wait
                    an_interrupter_called_early_does_not_end_a_later_wait
                    two_consumers_divide_the_entries
                    a_group_reader_gets_no_pending_entries
                    a_group_reader_reads_many_streams
                    many_streams_with_a_backlog_are_all_read_to_their_end
                    nothing_that_was_read_ahead_is_left_out
                    a_missing_group_is_an_error
                }
                deliveries {
                    joining_creates_what_is_missing
                    joining_leaves_a_group_that_exists_as_it_is
                    joining_many_streams_answers_for_each
                    last_ids_are_those_of_each_stream
                    every_stream_is_in_one_shard
                    own_entries_are_taken_whatever_their_idle_time
                    idle_entries_of_anybody_are_taken
                    taking_counts_only_the_first_two_deliveries
                    what_is_taken_in_pages_is_taken_once
                    taking_begins_at_an_id_inclusive
                    a_deleted_entry_is_acknowledged_and_named
                    a_deleted_entry_that_is_not_idle_is_left_to_its_consumer
                    many_streams_are_taken_from_at_once
                    thousands_are_taken_at_once
                    what_is_due_comes_with_its_retry_state_and_counts_an_attempt
                    what_is_due_in_a_missing_group_is_an_error
                    an_attempt_that_begins_is_counted_and_renewed
                    an_attempt_of_what_another_has_does_not_begin
                    an_attempt_of_a_deleted_entry_begins
                    what_is_pending_with_nobody_is_adopted
                    a_missing_group_adopts_nothing
                }
                leases {
                    a_renewal_begins_the_idle_time_again_and_counts_nothing
                    a_renewal_tells_what_became_of_each_missing_entry
                    entries_of_a_stream_that_was_removed_are_gone_also_when_there_is_another_one
                    a_renewal_tells_counts_of_what_was_delivered_more_than_once
                    a_renewal_makes_a_consumer_that_was_removed
                    a_renewal_after_a_move_back_tells_where_the_group_is
                    thousands_are_renewed_at_once
                    renewing_in_a_missing_group_is_an_error_of_that_stream
                    a_heartbeat_shows_a_quiet_consumer
                    a_heartbeat_delivers_nothing_and_counts_nothing
                    an_unknown_consumer_has_no_idle_time
                    only_dead_consumers_with_generated_names_are_swept
                    retry_states_of_what_is_not_pending_are_swept
                    a_consumer_leaves_when_it_has_nothing_pending
                }
                settling {
                    what_is_acknowledged_is_not_pending_any_more
                    what_another_has_is_acknowledged_too
                    a_failure_is_listed_and_its_message_settled
                    an_obsolete_failure_goes_with_its_details
                    groups_of_the_same_failure_are_united
                    a_deferred_message_stays_pending_with_its_retry_state
                    a_released_message_can_be_taken_at_once_with_its_old_count
                    what_another_has_is_neither_deferred_nor_released
                    a_deleted_entry_that_is_deferred_or_released_is_named_later
                    without_a_group_only_records_and_deletions_have_an_effect
                    settling_in_a_missing_group
                    what_is_refused_on_one_stream_leaves_the_others
                    thousands_are_settled_at_once
                    streams_of_any_name_are_settled
                }
                beside {
                    failures_are_listed_until_they_are_removed
                    pages_give_every_failure
                    details_stand_beside_their_record
                    the_first_group_in_which_a_listener_fails_is_kept
                    groups_of_details_are_united
                    details_without_a_record_are_found_and_removed
                    a_retry_state_is_replaced_only_if_it_is_the_known_one
                    what_was_retried_is_acknowledged_if_its_state_is_the_known_one
                    what_was_handled_is_marked_for_each_group
                    a_first_id_leads_to_the_current_one
                    what_was_restored_once_more_is_not_forgotten
                    a_restored_message_has_had_an_id
                    another_kind_of_key_is_an_error
                }
                recorded {
                    an_entry_and_its_record_hold_the_same_id
                    what_is_recorded_once_is_appended_once
                    many_tasks_append_once
                    a_record_that_cannot_be_written_keeps_the_entry_away
                    an_entry_that_is_refused_leaves_no_record
                    a_list_is_read_in_pages_from_its_oldest_element
                    elements_are_removed_by_their_bytes
                    a_missing_list_is_empty_and_a_stream_is_none
                    entries_are_found_by_their_ids_in_the_order_asked
                    too_many_fields_to_be_recorded_are_refused
                }
                thousands {
                    thousands_are_adopted_at_once
                    thousands_are_due_at_once
                    an_entry_with_thousands_of_fields_is_delivered_again
                    a_stream_with_thousands_of_groups_is_removed
                    a_message_that_was_restored_thousands_of_times_is_restored
                }
                bytes {
                    any_bytes_come_back_as_they_went_in
                    a_field_may_come_twice_and_keeps_its_place
                    empty_names_and_values_are_values
                    a_large_value_comes_back
                    a_group_reads_any_bytes
                    what_is_kept_beside_streams_holds_any_bytes
                }
            }
        }
    };
}

suite!(redis);
suite!(redis_tls);
suite!(redis_cluster);
suite!(redis_sentinel);
suite!(redis_of_another_runtime);
suite!(embedded_file);
suite!(embedded_memory);
