"""The catalogue of faults: what can go wrong, which tests put it to the product, and what is lacking.

`python -m tests.faults.catalogue` prints it as the table that stands in `docs/promises.md`; a test
keeps the two equal, and sees to it that every test named here exists.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Final

__all__ = ["CATALOGUE", "Fault", "table"]


@dataclass(frozen=True)
class Fault:
    """One fault. It has tests, or says what is lacking; it may have both."""

    number: int
    sentence: str
    tests: tuple[str, ...] = ()
    """`path::name` below `tests/`, or `conformance::name` for a test that runs on every space."""
    lacking: str = ""
    """What is not kept, not built or not tested, as a user should know it."""


def _tests(path: str, *names: str) -> tuple[str, ...]:
    return tuple(f"{path}::test_{name}" for name in names)


def _conformance(*names: str) -> tuple[str, ...]:
    return _tests("conformance", *names)


_LINK: Final = "amqp/test_link.py"
_LEAVING: Final = "amqp/test_leaving.py"
_AMQP: Final = "amqp/test_space.py"
_WORKERS: Final = "local/test_workers.py"
_OVERLOAD: Final = "faults/test_overload.py"
_END: Final = "lifetime/test_end_of_program.py"
_VERIFIED: Final = "amqp/test_verified_senders.py"

CATALOGUE: Final[tuple[Fault, ...]] = (
    Fault(
        1,
        "An action raises anything, also what cannot be shown, or megabytes of text.",
        _tests(
            "faults/test_agents.py",
            "hundreds_of_errors_are_as_many_answers_in_order",
            "an_error_that_cannot_be_shown_is_an_error_all_the_same",
            "an_error_of_ten_megabytes_is_told_in_brief",
        )
        + _conformance("an_agent_survives_whatever_its_action_raises"),
    ),
    Fault(
        2,
        "An action raises what ends a program, a generator or a task: SystemExit, GeneratorExit, CancelledError.",
        _conformance(
            "an_agent_survives_whatever_its_action_raises",
            "an_agent_survives_what_an_async_action_raises",
        )
        + _tests(
            "native/test_hostile_loops.py",
            "an_agent_that_stops_or_cancels_its_own_loop_goes_on",
            "an_action_that_cancels_itself_with_all_others_has_failed",
        ),
    ),
    Fault(
        3,
        "An action never returns.",
        _tests(
            "faults/test_agents.py",
            "an_action_that_never_returns_costs_its_requester_a_timeout_and_others_nothing",
        )
        + _conformance("an_agent_that_blocks_delays_no_other")
        + _tests(_WORKERS, "destroy_ends_processes_whose_actions_do_not_end")
        + _tests(
            "faults/test_agents.py",
            "a_space_is_destroyed_within_one_grace_wherever_actions_never_end",
            "who_waits_for_an_action_that_never_ends_is_told_when_its_agent_is_removed",
            "who_waits_for_an_agent_that_is_removed_is_told_though_its_worker_goes_on",
        )
        + _tests(
            "faults/test_workers.py",
            "a_program_with_an_action_that_computes_for_ever_goes_on_and_ends",
            "an_action_that_computes_for_ever_holds_up_neither_others_nor_the_end",
        )
        + _tests(
            "native/test_leaving.py",
            "the_grace_is_one_for_all_agents_wherever_they_are",
        )
        + _tests(
            "local/test_coming_and_going.py",
            "whoever_waits_for_an_action_that_outlasts_its_agent_is_told_and_its_end_is_counted",
        ),
        lacking="An action has no time limit of its own; in the program's own process it cannot be ended.",
    ),
    Fault(
        4,
        "Agents wait for each other in a circle.",
        _conformance(
            "two_agents_that_wait_for_each_other_are_told_so",
            "three_agents_that_wait_in_a_ring_are_told_so",
            "an_agent_that_waits_for_itself_is_told_so",
            "a_ring_across_applications_is_noticed",
        ),
    ),
    Fault(
        5,
        "An agent sends without end; two agents cause each other's messages without end.",
        _tests(
            "native/test_loops.py",
            "two_agents_that_answer_each_other_for_ever_are_stopped_and_the_operator_is_told",
        )
        + _tests(
            _OVERLOAD,
            "agents_that_flood_each_other_or_themselves_end",
            "async_code_is_told_at_once_and_waits_beside_its_event_loop",
            "an_agent_with_a_full_mailbox_gets_the_answers_it_waits_for",
        )
        + _conformance("a_full_mailbox_refuses_and_loses_nothing_that_it_accepted"),
    ),
    Fault(
        6,
        "A callback or a listener raises or never returns.",
        _conformance(
            "an_agent_that_cannot_be_set_up_is_not_added",
            "if_before_action_raises_nothing_else_runs",
            "if_after_action_raises_the_answer_is_sent_all_the_same",
            "an_agent_is_removed_even_if_before_remove_raises",
        )
        + _tests(
            "faults/test_agents.py",
            "agents_that_cannot_be_added_leave_nothing_behind_however_often_it_is_tried",
            "a_listener_for_dead_letters_that_raises_harms_nobody",
            "an_agent_that_never_finishes_to_clean_up_does_not_hold_up_the_end",
        ),
        lacking="`after_add` has no time limit, except in processes of LocalSpace: `add` waits for it.",
    ),
    Fault(
        7,
        "Agents come and go in the middle of their mail, and while the space is destroyed.",
        _tests(
            "faults/test_agents.py",
            "coming_going_and_speaking_at_once_ends_and_leaves_nothing",
            "an_action_may_destroy_the_space_it_runs_in",
            "of_two_who_remove_an_agent_at_once_one_is_told_that_it_is_gone",
        )
        + _tests(
            "faults/test_load.py",
            "agents_that_fail_and_go_at_random_lose_nothing_in_silence_and_nothing_of_others",
            "five_hundred_random_faults_of_agents",
        )
        + _tests(
            _LINK,
            "a_mailbox_that_goes_gives_out_what_it_has_and_is_found_by_nobody",
            "what_nobody_takes_goes_with_the_mailbox_and_is_counted",
            "mail_that_goes_with_its_mailbox_was_delivered_or_is_counted",
        )
        + _tests(
            "faults/test_network.py",
            "the_mail_of_an_agent_that_left_while_its_link_was_down_is_counted_when_it_is_back",
            "who_comes_before_the_mailbox_of_his_predecessor_could_be_deleted_gets_what_is_in_it",
        )
        + _tests(
            _LEAVING,
            "who_leaves_waits_for_the_remains_of_his_own_connection",
            "who_waits_for_an_agent_that_left_without_a_link_is_told_when_it_is_back",
            "who_leaves_while_a_successor_came_elsewhere_leaves_the_mailbox_to_him",
            "who_claims_an_id_in_the_middle_of_the_cleaning_up_has_it_whole",
            "an_id_whose_claim_was_given_up_does_not_come_later",
            "a_link_that_is_closed_while_an_id_waits_for_its_predecessor_tells_who_waits",
        )
        + _tests(
            "native/test_idle_agents.py",
            "adding_removing_and_destroying_from_many_threads_leaves_nothing",
        )
        + _conformance("a_space_may_be_destroyed_by_several_at_once")
        + _conformance(
            "a_stream_whose_reader_leaves_ends",
        )
        + _tests(
            "amqp/test_leaving.py",
            "a_release_waits_for_as_long_as_mail_is_turned_away",
            "what_a_space_that_is_destroyed_has_no_time_to_turn_away_is_counted",
            "all_agents_of_a_space_that_is_destroyed_take_their_leave_together",
            "an_agent_that_is_being_added_while_its_space_is_destroyed_leaves_no_mailbox_behind",
            "what_was_turned_away_is_not_begun_by_who_claims_the_id_in_the_midst_of_it",
        ),
    ),
    Fault(
        8,
        "An answer comes too late, twice, or to a question that nobody asked.",
        _conformance(
            "an_answer_that_comes_too_late_answers_nothing_else",
            "an_answer_out_of_the_blue_is_not_answered",
            "simultaneous_requests_get_their_own_answers",
        )
        + _tests(
            "unit/test_calls.py",
            "an_answer_to_another_question_does_not_count",
            "nothing_is_left_of_calls_that_timed_out",
        )
        + _conformance(
            "a_request_that_is_answered_again_has_ended_and_no_other_ends_by_that",
        ),
    ),
    Fault(
        9,
        "A worker is killed: idle, in an action, at random moments under load.",
        _tests(
            "faults/test_workers.py",
            "a_worker_killed_at_random_moments_loses_nothing_in_silence_and_nothing_of_others",
            "two_hundred_kills",
        )
        + _tests(
            _WORKERS,
            "messages_that_a_dead_agent_had_not_begun_are_told_apart_from_the_one_it_had",
            "a_sender_that_does_not_wait_is_told_too_when_its_message_may_have_run",
            "a_concurrent_agent_that_dies_answers_for_all_that_it_had_begun",
        )
        + _tests(
            "faults/test_supervision.py",
            "an_agent_killed_at_random_moments_comes_again_and_gets_all_that_it_had_not_begun",
            "an_agent_killed_two_hundred_times_comes_again_each_time",
            "an_agent_with_a_small_mailbox_killed_at_random_moments_loses_nothing_that_was_accepted",
            "a_successor_has_the_same_id_and_arguments_and_is_set_up_anew",
            "whoever_waits_for_what_was_not_begun_goes_on_waiting_and_gets_the_value",
            "between_two_lives_the_id_is_taken_and_mail_is_accepted",
            "an_agent_without_supervision_is_gone_at_once_and_who_watches_is_told_why",
            "a_process_that_ends_itself_in_good_order_comes_again_only_if_always_is_said",
            "a_space_may_say_what_holds_for_classes_that_say_nothing",
            "agents_that_share_a_process_die_together_and_each_comes_again",
            "an_agent_that_waits_for_its_next_life_leaves_at_once_and_in_order",
            "an_agent_in_the_midst_of_a_restart_leaves_at_once_and_in_order",
            "ctrl_c_ends_a_program_whose_agent_waits_for_its_next_life",
            "a_halted_space_starts_nobody_again_and_keeps_the_mail_until_it_ends",
        )
        + _tests(
            "faults/test_agents.py",
            "a_stream_without_end_ends_with_the_worker_that_reads_it",
        )
        + _tests(
            "local/test_workers.py",
            "what_was_handled_beside_an_action_that_dies_is_not_lost",
            "what_is_lost_is_told_before_it_counts_as_settled",
            "an_agent_added_to_a_process_that_has_just_died_holds_up_nobody",
        ),
        lacking="Only where `supervision` asks for it is a worker that died started again.",
    ),
    Fault(
        10,
        "A worker ends itself: segmentation fault, `os._exit`, `abort`.",
        _tests(
            _WORKERS,
            "who_waits_for_an_agent_that_dies_is_told_that_the_outcome_is_unknown",
            "a_dead_agent_takes_nobody_with_it_and_its_id_is_free_again",
        ),
    ),
    Fault(
        11,
        "A worker has no memory left.",
        _tests("faults/test_workers.py", "a_worker_out_of_memory_fails_that_action_only")
        + _tests(
            "faults/test_agents.py",
            "memory_that_cannot_be_had_is_the_failure_of_that_action_only",
        )
        + _tests(
            "faults/test_workers.py",
            "a_worker_without_memory_for_what_it_is_sent_dies_and_all_are_told",
            "an_application_without_memory_for_what_it_is_sent_says_so_and_ends",
        ),
        lacking="The kernel's own killer is a SIGKILL, as in F9; it is not provoked by a test.",
    ),
    Fault(
        12,
        "A worker is killed in the middle of a write, or writes garbage.",
        _tests(
            "local/test_garbage.py",
            "a_worker_that_writes_garbage_is_lost_alone",
            "a_worker_whose_shared_memory_is_overwritten_is_lost_alone",
            "a_worker_that_is_killed_in_the_middle_of_a_write_is_lost_alone",
            "a_message_that_cannot_be_read_is_a_dead_letter",
        ),
    ),
    Fault(
        13,
        "A worker stands still and goes on later.",
        _tests(
            "faults/test_workers.py",
            "a_worker_that_stands_still_holds_up_nobody_else_and_goes_on_in_order",
            "a_worker_that_stands_still_does_not_hold_up_the_end",
        )
        + _tests(_OVERLOAD, "a_worker_that_stands_still_costs_its_bound_and_nobody_else_is_slowed")
        + _tests(
            "faults/test_supervision.py",
            "a_process_that_does_not_hear_that_it_is_to_halt_is_ended",
        )
        + _tests(
            "local/test_workers.py",
            "mail_of_a_process_that_stands_still_is_counted_when_all_ends",
        )
        + _tests(
            "faults/test_soak.py",
            "all_faults_at_random_for_hours",
        ),
    ),
    Fault(
        14,
        "The application is killed, also while it adds agents.",
        _tests(_END, "no_process_outlives_a_program_that_is_killed")
        + _tests(
            "local/test_main_modules.py",
            "no_process_is_left_when_the_application_dies_while_it_adds_an_agent",
        ),
    ),
    Fault(
        15,
        "Ctrl-C once and twice, SIGTERM.",
        _tests(
            _END,
            "a_program_that_only_adds_agents_serves_until_ctrl_c_then_ends_in_order",
            "sigterm_ends_a_serving_program_in_order",
            "a_signal_between_the_end_of_main_and_serving_ends_a_program_in_order",
        )
        + _tests("faults/test_workers.py", "a_second_ctrl_c_ends_a_program_at_once"),
        lacking="SIGHUP ends a program at once, without `before_remove`, as it ends any other.",
    ),
    Fault(
        16,
        "An agent cannot be built elsewhere: not importable, not picklable, raises, dies, never ends.",
        _tests(
            _WORKERS,
            "an_agent_that_cannot_start_is_an_error_that_says_why_and_leaves_nothing",
            "an_agent_that_is_never_built_is_given_up_after_the_start_timeout",
            "what_cannot_be_pickled_is_refused_with_a_way_out",
        )
        + _tests(
            "local/test_workers.py",
            "a_class_that_cannot_be_imported_elsewhere_is_refused_with_a_way_out",
            "an_error_that_no_encoding_knows_is_told_and_harms_no_neighbour",
        ),
    ),
    Fault(
        17,
        "A receiver is slower than its senders for long.",
        _tests(
            _OVERLOAD,
            "a_full_mailbox_refuses_loses_nothing_and_delays_nobody_else",
            "who_sends_faster_than_the_receiver_takes_is_slowed_and_loses_nothing",
            "large_messages_fill_a_mailbox_by_their_bytes",
            "a_broadcast_waits_for_no_full_mailbox_and_reaches_all_others",
            "who_waits_for_room_is_let_go_when_the_receiver_leaves",
            "who_waits_for_room_where_all_is_halted_is_refused_in_time_and_what_was_accepted_is_told",
        )
        + _tests(
            "faults/test_supervision.py",
            "what_waits_for_the_next_life_counts_against_the_bound_of_the_mailbox",
            "a_full_mailbox_passes_to_the_next_life_with_those_who_wait_for_room",
            "a_mailbox_that_is_filled_between_two_lives_has_room_when_the_heir_has_made_some",
            "who_waits_for_room_goes_on_when_no_heir_comes",
        )
        + _conformance(
            "a_full_mailbox_refuses_and_loses_nothing_that_it_accepted",
            "a_broadcast_reaches_all_others_when_one_mailbox_is_full",
        )
        + _tests(
            "native/test_permission.py",
            "what_waits_for_permission_takes_room_in_the_mailbox",
            "large_messages_that_wait_for_permission_fill_a_mailbox_by_their_bytes",
            "who_has_been_permitted_gives_its_room_to_those_who_wait_for_it",
        )
        + _tests(
            "unit/test_resident.py",
            "the_time_that_a_request_waits_for_room_is_part_of_its_timeout",
        ),
    ),
    Fault(
        18,
        "An agent dies at its start, or at once, again and again.",
        _tests(_WORKERS, "an_agent_that_cannot_start_is_an_error_that_says_why_and_leaves_nothing")
        + _tests(
            "faults/test_supervision.py",
            "an_agent_that_dies_too_often_is_let_go_after_exactly_as_many_restarts_as_it_may_have",
            "an_agent_that_cannot_be_built_again_counts_as_dying_again",
        )
        + _tests(
            "unit/test_supervision.py",
            "pauses_grow_up_to_the_longest_and_too_many_deaths_are_final",
            "deaths_that_are_long_past_do_not_count",
        ),
    ),
    Fault(
        19,
        "A message kills whoever begins with it.",
        _tests(
            "faults/test_supervision.py",
            "a_message_that_kills_kills_once_and_those_behind_it_are_handled",
        ),
        lacking="On AMQPSpace see F41.",
    ),
    Fault(
        20,
        "No file descriptor is left.",
        _tests("faults/test_workers.py", "a_program_with_few_file_descriptors_says_so_and_recovers")
        + _tests(
            "faults/test_workers.py",
            "a_program_with_few_descriptors_for_good_refuses_the_agent_that_is_too_many",
            "a_program_with_few_descriptors_now_has_many_agents_with_no_more_each",
            "who_asks_an_async_agent_that_has_no_descriptors_is_told",
            "agents_that_come_and_go_leave_nothing_behind_while_the_space_lives",
        )
        + _tests(
            "amqp/test_sending.py",
            "a_link_that_finds_no_file_descriptor_for_a_while_comes_back",
        ),
        lacking="A limit on processes is not tested.",
    ),
    Fault(
        21,
        "The program ends without `destroy`: by its end, by `sys.exit`, by an exception.",
        _tests(
            _END,
            "a_program_that_fails_does_not_go_on_serving",
            "a_program_that_exits_keeps_its_exit_status",
            "a_program_that_destroys_its_space_ends_by_itself",
        )
        + _tests(
            "lifetime/test_end_of_program.py",
            "threads_that_send_until_the_end_do_not_hold_up_a_program_that_exits",
            "actions_that_never_end_do_not_hold_up_a_program_that_exits",
        ),
    ),
    Fault(
        22,
        "The link to the broker is cut, again and again, under load.",
        _tests(
            "faults/test_network.py",
            "links_cut_at_random_lose_double_and_reorder_nothing",
            "sixty_random_cuts",
        )
        + _tests(
            "amqp/test_sending.py",
            "a_link_cut_while_a_mailbox_is_full_comes_back",
        ),
    ),
    Fault(
        23,
        "The broker closes all connections.",
        _tests(
            _LINK,
            "a_thousand_messages_arrive_in_order_while_connections_are_cut",
            "a_cut_is_reported_and_the_id_and_its_mail_come_back",
        )
        + _tests(_AMQP, "mail_of_an_agent_survives_a_cut_and_runs_once")
        + _tests(
            "faults/test_broker.py",
            "connections_that_an_operator_closes_ten_times_at_random_cost_no_message",
            "the_half_of_a_link_that_the_broker_closes_is_made_again_under_load",
        ),
    ),
    Fault(
        24,
        "The link or the broker falls silent, and goes on later.",
        _tests("faults/test_network.py", "a_link_that_falls_silent_is_noticed_and_made_again")
        + _tests("faults/test_broker.py", "a_broker_that_stands_still_is_waited_for")
        + _tests(_LINK, "closing_is_bounded_when_the_server_is"),
    ),
    Fault(
        25,
        "Half of a connection is closed.",
        _tests("faults/test_network.py", "a_link_of_which_one_half_is_closed_is_made_again"),
    ),
    Fault(
        26,
        "The broker has a message and the sender never hears so.",
        _tests(
            "faults/test_network.py",
            "what_the_broker_has_and_nobody_confirmed_is_sent_again_and_begun_once",
            "what_is_never_confirmed_is_unknown_and_not_said_to_have_failed",
            "what_was_never_written_is_said_not_to_have_been_sent",
            "what_was_handled_before_it_was_sent_again_to_nobody_is_not_said_not_to_have_run",
        )
        + _tests(
            "amqp/test_inbox.py",
            "what_one_sender_wrote_is_known_again_however_much_others_send",
            "what_is_still_being_handled_is_known_again_whatever_else_comes",
        )
        + _tests(
            "faults/test_killed_members.py",
            "a_message_waits_on_the_broker_until_its_receiver_hears_that_what_it_sent_is_safe",
        ),
    ),
    Fault(
        27,
        "A confirm comes after its message was given up.",
        _tests("faults/test_network.py", "a_confirm_that_comes_too_late_confirms_nothing_else")
        + _tests(
            "amqp/test_sending.py",
            "a_message_given_up_while_it_is_asked_about_breaks_no_link",
        ),
    ),
    Fault(
        28,
        "Connections last for a few bytes only; bytes come one by one.",
        _tests(
            "faults/test_network.py",
            "bytes_that_come_one_by_one_and_late_are_only_slow",
            "a_link_that_breaks_after_so_many_bytes_gets_everything_across_in_the_end",
        ),
    ),
    Fault(
        29,
        "A receiver on AMQP is killed in an action.",
        _tests(
            "faults/test_killed_members.py",
            "a_receiver_killed_in_an_action_has_a_successor_who_begins_everything_again_or_anew",
            "a_hundred_receivers_are_killed_at_random",
        )
        + _tests(_LINK, "what_is_not_acknowledged_comes_again_to_the_next_holder")
        + _tests(
            "faults/test_redelivery.py",
            "what_a_dead_process_had_begun_is_begun_again_and_told_so",
            "an_action_that_is_run_at_most_once_is_not_run_again_and_who_waits_is_told",
            "a_stream_that_is_run_at_most_once_ends_as_unknown",
            "a_sender_that_does_not_wait_gets_an_error_for_all_that_the_dead_process_had_been_given",
            "a_cut_link_keeps_nothing_from_being_run_that_is_run_at_most_once",
        )
        + _tests(
            "faults/test_killed_members.py",
            "what_is_run_at_most_once_is_begun_once_or_told_when_its_receivers_are_killed_at_random",
            "what_is_run_at_most_once_while_a_hundred_receivers_are_killed",
            "a_message_waits_on_the_broker_until_its_receiver_hears_that_what_it_sent_is_safe",
            "what_a_process_had_sent_and_the_broker_had_not_taken_when_it_was_killed_is_sent_again",
            "what_a_process_passed_on_until_it_was_killed_at_random_is_all_there",
            "what_fifty_processes_passed_on_until_they_were_killed",
            "the_mailbox_of_a_receiver_that_was_killed_waits_ten_minutes_for_a_successor",
        ),
        lacking="Of an action that is `at_most_once`, nothing runs that a dead process had been given, begun or "
        "not: up to 256 messages. If broker and receiver are killed at the same moment, a mark may be lost.",
    ),
    Fault(
        30,
        "A sender is killed while it sends.",
        _tests(
            "faults/test_killed_members.py",
            "a_sender_killed_while_it_sends_has_lost_nothing_that_was_accepted",
        )
        + _tests(
            "faults/test_killed_members.py",
            "what_a_process_passed_on_until_it_was_killed_at_random_is_all_there",
            "what_fifty_processes_passed_on_until_they_were_killed",
        ),
    ),
    Fault(
        31,
        "A host vanishes from the network and comes back after its agent has a successor.",
        _tests(
            "faults/test_network.py",
            "a_host_that_vanishes_is_succeeded_and_fenced_when_it_comes_back",
        )
        + _tests(
            "faults/test_redelivery.py",
            "who_has_lost_its_id_begins_with_none_of_the_mail_that_it_had",
        )
        + _tests(_LINK, "a_silent_holder_is_waited_for_and_succeeded")
        + _tests(
            "amqp/test_receiving.py",
            "who_stood_still_while_his_id_went_to_another_begins_with_nothing_that_he_had",
        ),
    ),
    Fault(
        32,
        "Somebody else adds an id that is in use, or speaks for it.",
        _tests(
            _LINK,
            "an_id_in_use_is_refused_at_once_and_its_holder_left_alone",
            "of_many_claimants_exactly_one_wins",
        )
        + _conformance("an_id_belongs_to_one_application")
        + _tests(
            "faults/test_replicated.py",
            "an_id_is_unique_and_its_agent_reached_whichever_kind_of_mailbox_it_has",
        )
        + _conformance("an_id_in_use_is_refused_and_its_agent_untouched")
        + _tests(_WORKERS, "an_id_is_unique_across_processes")
        + _tests("local/test_garbage.py", "no_worker_speaks_for_an_agent_of_another")
        + _tests(
            "amqp/test_leaving.py",
            "an_id_that_could_not_be_claimed_in_time_is_free_for_others",
        )
        + _tests(
            "amqp/test_sending.py",
            "a_forged_question_for_an_id_breaks_the_link_once_and_not_again",
        ),
    ),
    Fault(
        33,
        "An operator deletes a lease or a mailbox.",
        _tests(
            _LINK,
            "a_lease_deleted_from_outside_is_noticed_and_taken_again",
            "a_mailbox_deleted_from_outside_is_made_again",
        )
        + _tests(
            "amqp/test_receiving.py",
            "an_acknowledgement_of_who_had_the_id_before_takes_nothing_from_who_has_it_now",
        ),
        lacking="What was in a deleted mailbox is gone.",
    ),
    Fault(
        34,
        "No broker, a wrong account, virtual host, permission or certificate.",
        _tests(
            _LINK,
            "a_wrong_password_is_refused_at_once_and_never_shown",
            "a_missing_virtual_host_is_refused_by_name",
            "a_user_without_permission_is_refused_by_name",
            "tls_to_a_server_without_it_is_refused_at_once",
            "no_server_is_reported_with_address_and_reason",
            "a_server_that_never_answers_is_reported_with_its_address",
            "a_server_that_starts_late_is_waited_for",
        )
        + _tests(
            "faults/test_tls.py",
            "with_the_right_certificate_agents_speak",
            "a_certificate_of_an_authority_that_is_not_trusted_is_refused",
            "a_certificate_of_another_host_is_refused",
            "a_certificate_that_has_expired_is_refused",
        ),
    ),
    Fault(
        35,
        "A queue or an exchange exists with other arguments.",
        _tests(
            _LINK,
            "a_mailbox_of_another_shape_is_refused_by_name",
            "an_exchange_of_another_type_is_refused_by_name",
        )
        + _tests(_LEAVING, "an_id_is_free_although_the_server_does_not_let_its_mailbox_go"),
    ),
    Fault(
        36,
        "An action, or an approval for it, outlasts the broker's patience for acknowledgements.",
        _tests(
            "faults/test_network.py",
            "an_action_that_outlasts_the_servers_patience_runs_once_and_harms_no_other_agent",
        ),
    ),
    Fault(
        37,
        "A process forks while it is connected, or while its agents come and go.",
        _tests(
            "faults/test_killed_members.py",
            "a_process_that_was_forked_cannot_disturb_the_link_of_its_parent",
        )
        + _tests(
            "native/test_forks.py",
            "a_child_that_is_forked_while_an_agent_is_asked_whether_it_leaves_can_make_a_space",
        )
        + _tests(
            "amqp/test_receiving.py",
            "an_id_is_free_when_its_process_is_killed_although_a_child_of_it_lives",
        ),
    ),
    Fault(
        38,
        "The broker is killed, or restarted.",
        _tests(
            "faults/test_broker.py",
            "a_broker_that_is_killed_under_load_costs_time_and_no_message",
            "a_broker_that_is_killed_ten_times",
        )
        + _tests(
            _LINK,
            "durable_mail_and_unsent_mail_survive_a_restart_of_the_server",
            "mail_survives_a_server_that_is_killed",
        )
        + _tests(
            "faults/test_broker.py",
            "what_a_destroyed_space_could_not_send_to_a_dead_broker_is_named_in_the_log",
        ),
    ),
    Fault(
        39,
        "The broker is short of memory or disk.",
        _tests(
            "faults/test_broker.py",
            "a_broker_short_of_anything_is_waited_for_and_its_mail_is_handled_meanwhile",
            "a_space_may_be_destroyed_while_the_broker_takes_nothing",
        )
        + _tests(_LINK, "while_the_server_is_short_of_memory_mail_is_received_and_sending_waits")
        + _tests(
            "faults/test_broker.py",
            "what_a_broker_short_of_memory_does_not_take_in_time_is_not_said_to_be_sent",
        )
        + _tests(
            "unit/test_amqp_outbox.py",
            "no_more_is_let_in_than_may_wait_by_number_and_by_bytes",
            "who_waits_for_room_is_let_in_when_half_of_it_is_free",
            "what_was_given_up_takes_up_room_for_as_long_as_the_server_may_take_it",
        )
        + _tests(
            "amqp/test_sending.py",
            "a_request_that_finds_no_room_ends_when_nobody_waits_for_it_any_more",
        )
        + _tests(
            "faults/test_killed_members.py",
            "what_a_process_had_sent_and_the_broker_had_not_taken_when_it_was_killed_is_sent_again",
        ),
    ),
    Fault(
        40,
        "A mailbox on the broker is full.",
        _tests(
            "faults/test_broker.py",
            "a_full_mailbox_is_told_to_its_sender_and_keeps_no_broadcast_from_the_others",
            "many_who_send_to_a_full_mailbox_at_once_are_all_told_that_it_is_full",
        )
        + _conformance("a_broadcast_reaches_all_others_when_one_mailbox_is_full")
        + _tests(
            "amqp/test_sending.py",
            "a_full_mailbox_is_called_full_whichever_kind_it_is",
            "a_full_queue_that_is_no_agents_of_this_library_is_called_full",
            "senders_to_a_full_replicated_mailbox_are_told_and_break_no_link",
            "a_mailbox_of_which_the_server_says_nothing_holds_up_no_later_sender",
        ),
    ),
    Fault(
        41,
        "A message kills every receiver on AMQP.",
        _tests(
            "faults/test_replicated.py",
            "a_message_that_five_receivers_died_of_is_set_aside_and_those_behind_it_are_handled",
        ),
        lacking="Mailboxes that are not replicated keep no count: there is no limit to how often it comes "
        "again, unless the action is `at_most_once`. With `concurrency` an innocent message may be set aside first.",
    ),
    Fault(
        42,
        "Nodes of a cluster are killed in turn, or stopped and started in turn.",
        _tests(
            "faults/test_cluster.py",
            "nodes_killed_in_turn_lose_nothing_in_silence_and_reorder_nothing",
            "a_rolling_restart_loses_nothing_in_silence_and_reorders_nothing",
        )
        + _tests(
            "faults/test_replicated.py",
            "a_server_that_forgets_to_confirm_is_connected_to_again_and_the_message_begun_once",
            "a_server_that_forgets_a_consumer_is_connected_to_again",
        ),
        lacking="Mailboxes that are not replicated live on one node; while it is down, mail to them counts as "
        "mail to nobody. To replicated ones `send` waits; what an action sends in the seconds without a "
        "leader may be refused.",
    ),
    Fault(
        43,
        "A node of a cluster is cut off from the others, or stands still.",
        _tests(
            "faults/test_cluster.py",
            "a_node_that_is_cut_off_loses_nothing_in_silence_and_comes_back",
        )
        + _tests(
            "faults/test_cluster.py",
            "a_node_that_stands_still_loses_nothing_in_silence_and_goes_on",
        ),
        lacking="As F42. That an id is unique is not promised while a cluster is divided. While the node that "
        "leads a replicated mailbox stands still, `send` may end with `OutcomeUnknown`, for up to a minute. A node "
        "that stood still for longer than RabbitMQ's `net_ticktime` (60 s) may have to be restarted, and messages "
        "may be begun out of order as it comes back.",
    ),
    Fault(
        44,
        "All nodes of a cluster stop and start in another order.",
        _tests(
            "faults/test_cluster.py",
            "mail_survives_when_all_nodes_stop_and_start_in_another_order",
        ),
    ),
    Fault(
        45,
        "What is almost JSON, and JSON that other languages read differently.",
        _conformance(
            "every_bad_message_is_refused_and_the_field_named",
            "agents_built_by_the_space_get_the_same_verdicts",
            "every_json_value_survives_exactly",
        )
        + _tests(_AMQP, "what_is_not_a_message_is_counted_and_harms_nobody")
        + _tests(
            "faults/test_hostile_input.py",
            "any_bytes_are_a_message_that_comes_back_the_same_or_are_refused",
        )
        + _tests(
            "faults/test_hostile_input.py",
            "a_hundred_thousand_times_any_bytes_are_such_a_message_or_are_refused",
        )
        + _tests(
            "amqp/test_receiving.py",
            "a_delivery_that_cannot_be_dealt_with_does_not_hold_up_the_next",
        ),
    ),
    Fault(
        46,
        "Messages that are large, and too large.",
        _conformance("a_megabyte_survives", "what_is_too_large_is_refused_and_harms_nothing")
        + _conformance(
            "a_message_may_be_exactly_as_large_as_is_allowed",
            "an_object_may_have_a_hundred_thousand_keys",
        ),
    ),
    Fault(
        47,
        "Ids that look like patterns, paths, or other ids.",
        _conformance(
            "a_message_reaches_the_agent_of_exactly_that_id",
            "a_message_to_what_looks_like_a_pattern_reaches_nobody_else",
            "the_longest_ids_work",
            "other_ids_are_refused_in_every_form",
        )
        + _tests(_LINK, "any_id_gets_its_own_mail_and_no_other")
        + _tests("amqp/test_topology.py", "queue_names_are_short_strings_and_differ"),
    ),
    Fault(
        48,
        "Storms: errors that cause errors, broadcasts that cause broadcasts.",
        _conformance(
            "agents_that_cannot_bear_answers_do_not_answer_them",
            "broadcasts_that_cause_each_other_end",
        )
        + _tests(
            "native/test_loops.py",
            "two_agents_that_answer_each_other_for_ever_are_stopped_and_the_operator_is_told",
        )
        + _tests(_OVERLOAD, "a_storm_of_broadcasts_ends_and_every_one_is_accounted_for")
        + _tests(
            "faults/test_overload.py",
            "agents_that_pass_on_in_a_circle_are_stopped_and_the_operator_is_told",
            "agents_that_pass_on_in_a_circle_over_a_broker_are_stopped_too",
        )
        + _tests(
            "unit/test_resident.py",
            "of_a_stream_that_is_too_far_down_a_chain_of_causes_nothing_is_wanted",
        )
        + _tests(
            "amqp/test_receiving.py",
            "a_count_that_cannot_be_counted_on_from_stops_nobody",
        ),
        lacking="A storm keeps the mailboxes full until it ends, which takes long with many agents and "
        "large mailboxes: each may handle 32 mailboxes full.",
    ),
    Fault(
        49,
        "Pickled objects, YAML, compressed bombs in a mailbox.",
        _tests(
            "faults/test_hostile_input.py",
            "nothing_that_is_put_on_a_mailbox_is_run_or_unpacked",
        ),
    ),
    Fault(
        50,
        "Somebody writes another's name in `from`.",
        _conformance("every_bad_message_is_refused_and_the_field_named")
        + _tests(
            _VERIFIED,
            "of_a_thousand_messages_in_anothers_name_none_is_accepted",
            "an_application_adds_agents_of_its_own_account_only",
            "the_server_keeps_others_from_all_that_is_an_agents",
            "nobody_gets_a_copy_of_what_is_sent_to_another",
            "nobody_can_send_on_what_another_has_sent_to_all",
            "nobody_can_have_what_is_sent_to_all_come_twice",
            "nobody_gets_the_id_of_another_by_leaving_verification_out",
            "the_number_of_anothers_message_gets_nobody_its_place_or_its_answer",
        ),
        lacking="On AMQPSpace without `verified_senders`, whoever has an account may write any `from`.",
    ),
    Fault(
        51,
        "Somebody answers for another.",
        _conformance("an_answer_counts_only_from_the_agent_that_was_asked")
        + _tests(
            "faults/test_hostile_input.py",
            "an_answer_counts_only_from_the_one_who_was_asked_even_with_the_right_numbers",
        )
        + _tests(
            _VERIFIED,
            "nobody_else_can_answer_even_with_the_right_numbers",
            "nobody_else_can_end_a_stream",
        )
        + _tests(
            "faults/test_hostile_input.py",
            "a_request_and_its_answer_that_are_replayed_do_nothing_once_more",
        ),
        lacking="As F50: without `verified_senders`, who forges `from` as well can answer for another, "
        "if he can read the request.",
    ),
    Fault(
        52,
        "Ways around an access policy: other names, overrides, arguments that are none.",
        _conformance(
            "nothing_but_actions_can_be_invoked",
            "a_declared_name_is_called_and_the_methods_is_not",
            "an_unmarked_override_keeps_what_was_declared",
            "a_wrong_call_names_the_argument_and_does_not_run",
            "a_denied_action_does_not_run",
        ),
    ),
    Fault(
        53,
        "An outsider asks for help.",
        _conformance("help_lists_the_actions_that_can_be_called"),
        lacking="What nobody may invoke is not shown; but a denied action is refused as denied, so that "
        "it exists can be found out, as the contract says.",
    ),
    Fault(
        54,
        "The message, or the file, changes between approval and action.",
        _conformance("what_runs_is_what_was_shown")
        + _tests("unit/test_turn.py", "what_is_changed_after_it_was_shown_does_not_run")
        + _tests(
            "demo/test_host.py", "what_was_asked_is_what_runs", "a_symbolic_link_is_not_followed"
        )
        + _tests(
            "demo/test_approvals.py",
            "all_of_a_message_is_shown_however_long_it_is",
        ),
        lacking="An approval binds the message. What a path in it points at may still change.",
    ),
    Fault(
        55,
        "An approval that is late, doubled, guessed, or not a plain True.",
        _conformance(
            "only_true_permits",
            "if_asking_fails_it_is_refused",
            "without_a_decision_in_time_it_is_refused",
            "several_may_wait_for_permission_at_once",
            "waiting_for_permission_holds_up_nothing_else",
            "what_waits_for_permission_when_the_space_is_halted_is_refused",
        )
        + _tests(
            "demo/test_approvals.py",
            "nobody_else_can_answer_for_the_approver",
            "a_press_answers_the_question_it_belongs_to_and_only_once",
            "a_guess_or_a_press_that_comes_too_late_answers_nothing",
            "who_asks_too_much_is_refused",
        )
        + _tests(
            "demo/test_terminal_approval.py",
            "what_was_refused_before_it_could_be_asked_is_shown_all_the_same",
        )
        + _tests(
            "faults/test_pending_permission.py",
            "a_worker_killed_while_it_waits_for_permission_has_not_acted_and_its_successor_asks_anew",
            "a_process_killed_while_it_waits_for_permission_has_not_acted_and_its_successor_asks_anew",
        )
        + _tests(
            "native/test_permission.py",
            "what_is_permitted_when_nobody_waits_any_more_does_not_run",
            "who_has_not_decided_in_time_is_asked_no_longer",
        )
        + _tests(
            "unit/test_resident.py",
            "what_was_permitted_and_has_not_gone_on_when_all_is_halted_stays_where_it_is",
        ),
    ),
    Fault(
        56,
        "Text that poses as the prompt, or commands the terminal.",
        _tests(
            "demo/test_terminal_approval.py",
            "no_text_can_change_the_terminal_or_pose_as_the_prompt",
            "everything_that_is_shown_can_be_seen",
        )
        + _tests("unit/test_slash.py", "a_command_shows_every_character_on_one_line")
        + _tests("unit/test_logging.py", "what_others_say_is_logged_in_printable_characters")
        + _tests(
            "demo/test_terminal_approval.py",
            "no_name_can_pose_as_the_prompt",
            "nobody_who_led_to_a_call_can_pose_as_the_prompt",
            "a_long_question_is_shown_whole_and_its_length_said",
            "what_is_too_long_to_be_shown_whole_is_refused_and_the_reason_is_said",
            "no_text_in_a_frame_can_pose_as_another",
        ),
    ),
    Fault(
        57,
        "Commands and files of the operating system that do harm or never end.",
        _tests(
            "demo/test_host.py",
            "a_command_that_takes_too_long_is_ended",
            "a_command_that_writes_without_end_is_ended",
            "a_daemon_that_a_command_started_ends_with_it",
            "a_command_does_not_see_secrets",
            "what_is_no_ordinary_file_is_refused",
            "what_is_too_large_or_not_text_is_refused",
        )
        + _tests(
            "demo/test_host.py",
            "a_daemon_ends_with_the_process_that_wants_the_result",
            "a_daemon_of_a_command_that_is_ended_ends_as_well",
            "a_command_may_end_its_own_group",
            "a_command_that_stops_its_parent_can_be_ended",
            "a_command_that_kills_its_parent_ends_with_it",
            "the_parent_of_a_command_has_no_secrets_in_its_environment_either",
        ),
        lacking="The demo's Host is not confined to a folder: the approver decides.",
    ),
    Fault(
        58,
        "A web page of another site speaks to the demo's page; text poses as markup.",
        _tests(
            "demo/test_page.py",
            "only_the_page_itself_is_answered",
            "another_site_cannot_send_anything",
            "nothing_that_is_said_runs_or_loads_anything",
            "the_page_shows_and_asks_nobody_else_for_anything",
        ),
    ),
    Fault(
        59,
        "Secrets in logs, errors and representations.",
        _tests("faults/test_hostile_input.py", "no_password_is_logged_or_shown_whatever_goes_wrong")
        + _tests("amqp/test_options.py", "the_password_is_in_no_repr")
        + _tests(
            "faults/test_hostile_input.py",
            "a_secret_among_the_arguments_of_an_agent_that_cannot_be_added_is_not_shown",
        ),
    ),
    Fault(
        60,
        "The audit log cannot be written.",
        _tests(
            "faults/test_audit.py",
            "every_decision_is_recorded_before_it_takes_effect",
            "what_cannot_be_recorded_is_refused_and_nothing_else_is",
            "a_log_that_cannot_be_opened_is_an_error_at_once",
            "nobody_else_can_read_the_log",
            "what_needs_no_permission_is_not_recorded",
            "many_processes_write_to_one_log_and_no_record_is_broken",
            "a_record_after_one_that_was_cut_off_stands_on_a_line_of_its_own",
            "of_all_that_was_done_until_a_kill_there_is_a_record",
            "when_the_disk_is_full_in_the_middle_of_a_record_it_is_refused",
            "a_log_that_was_moved_away_is_made_anew",
            "a_log_of_a_hundred_megabytes_is_only_appended_to",
        ),
        lacking="The log has no signature: who may write the file can change it.",
    ),
    Fault(
        61,
        "Clocks jump.",
        _tests("faults/test_agents.py", "a_clock_that_jumps_disturbs_no_timeout")
        + _tests(
            "faults/test_agents.py",
            "a_clock_that_jumps_where_an_agent_lives_disturbs_no_timeout_of_its_own",
        )
        + _tests(
            "demo/test_approvals.py",
            "a_clock_that_jumps_shortens_and_prolongs_no_question",
        ),
        lacking="Deadlines travel as spans of time, so clocks of hosts may differ; that is not tested.",
    ),
)

ANY_ORDER: Final = (
    _tests(
        "faults/test_model.py",
        "a_space_does_what_its_model_does",
        "a_space_does_what_its_model_does_for_long",
    )
    + _tests(
        "faults/test_killed_members.py", "agents_that_are_removed_leave_no_queue_on_the_broker"
    )
    + _tests("faults/test_soak.py", "all_faults_at_random_for_hours")
)
"""Tests that are of no single fault: anything in any order, and its traces."""


def table() -> str:
    """The catalogue as a table in Markdown."""
    rows = ["| | fault | tests | what is lacking |", "|---|---|---|---|"]
    rows += [
        f"| F{fault.number} | {fault.sentence} | {len(fault.tests) or 'none'} | {fault.lacking} |"
        for fault in CATALOGUE
    ]
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    sys.stdout.write(table())
