"""The tree of errors: one root, and Python's own meanings."""

from __future__ import annotations

import pytest

from agency import errors
from agency.errors import (
    ActionError,
    AgencyError,
    Failure,
    OutcomeUnknown,
    RequestError,
)

ERRORS = [
    getattr(errors, name)
    for name in errors.__all__
    if issubclass(getattr(errors, name), BaseException)
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: str(error.__name__))
def test_every_error_has_the_one_root_and_its_place_in_the_tree(
    error: type[BaseException],
) -> None:
    assert issubclass(error, AgencyError)
    assert f" {error.__name__}" in f" {errors.__doc__}"


@pytest.mark.parametrize(
    ("error", "meaning"),
    [
        (errors.InvalidMessage, ValueError),
        (errors.MessageTooLarge, errors.InvalidMessage),
        (errors.InvalidAgentId, ValueError),
        (errors.AgentIdInUse, ValueError),
        (errors.UnknownAgent, ValueError),
        (errors.InvalidAction, TypeError),
        (errors.StartFailed, RuntimeError),
        (errors.NotInSpace, RuntimeError),
        (errors.SpaceClosed, RuntimeError),
        (errors.MissingExtra, ImportError),
        (errors.MailboxFull, errors.NotAccepted),
        (errors.BrokerUnreachable, ConnectionError),
        (errors.BrokerRefused, ConnectionError),
        (errors.ActionNotFound, LookupError),
        (errors.ActionNotPermitted, PermissionError),
        (errors.InvalidArguments, TypeError),
        (errors.AgentNotFound, LookupError),
        (errors.RequestTimeout, TimeoutError),
    ],
)
def test_an_error_can_be_caught_as_what_python_calls_it(
    error: type[Exception], meaning: type[Exception]
) -> None:
    assert issubclass(error, meaning)


@pytest.mark.parametrize("failure", Failure)
def test_a_failure_becomes_an_error_of_the_other_side(failure: Failure) -> None:
    error = failure.exception("what happened")
    assert isinstance(error, RequestError)
    assert str(error) == "what happened"
    assert Failure.read(failure.value) is failure


def test_different_failures_are_different_errors() -> None:
    assert len({type(failure.exception("")) for failure in Failure}) == len(Failure)


@pytest.mark.parametrize("word", [None, "", "from a newer version"])
def test_a_failure_that_nobody_knows_is_a_failed_action(word: str | None) -> None:
    assert type(Failure.read(word).exception("")) is ActionError


def test_an_unknown_outcome_is_no_failed_action() -> None:
    assert not issubclass(OutcomeUnknown, ActionError)


def test_an_action_error_has_a_message() -> None:
    assert ActionError("no such file").message == "no such file"
    assert ActionError().message == ""


def test_an_error_of_permission_shows_its_text_only() -> None:
    assert str(Failure.NOT_PERMITTED.exception('"a.b" not permitted')) == '"a.b" not permitted'
