"""The failure policy: each row of its table decides something."""

from __future__ import annotations

import inspect

import pytest

from cp_thirdparty import CustomJobClient, exceptions
from cp_thirdparty.worker import _failure_policy
from cp_thirdparty.worker._failure_policy import (
    TABLE,
    Next,
    NotHeldError,
    NotStartedError,
    Party,
    ProcessDiedError,
    Situation,
    Step,
    classify,
)
from cp_thirdparty.worker.tokens import NoTokenError

_SERVICE_ERRORS = (
    "ActionTypeNotFoundException",
    "InvalidClientTokenException",
    "InvalidJobException",
    "InvalidJobStateException",
    "InvalidNonceException",
    "JobNotFoundException",
    "OutputVariablesSizeExceededException",
    "ServiceError",
    "ThrottledError",
    "ValidationException",
)


def _errors() -> dict[str, Exception]:
    """Return one error of each kind, by name."""
    errors: dict[str, Exception] = {
        name: getattr(exceptions, name)("no", code=name, is_retry_safe=name == "ThrottledError")
        for name in _SERVICE_ERRORS
    }
    more: tuple[Exception, ...] = (
        exceptions.AccessDeniedError(action="a", resource=None, is_retry_safe=False),
        exceptions.ClockSkewError("no", code="RequestExpired", offset=60.0, is_retry_safe=False),
        exceptions.CredentialsError("no", is_retry_safe=False),
        exceptions.InvalidRequestError("client_token", "no", is_retry_safe=False),
        exceptions.ResponseDecodeError(["no"]),
        exceptions.TransportError("no"),
        exceptions.UntrustedResponseError("no"),
        NoTokenError("no"),
        NotHeldError("no"),
        NotStartedError("no"),
        MemoryError(),
        ProcessDiedError("no", is_alone=True),
    )
    token = exceptions.ValidationException("Value at 'clientToken' failed", code="ValidationException")
    job_id = exceptions.ValidationException("Value at 'jobId' failed", code="ValidationException")
    own_job_id = exceptions.InvalidRequestError("job_id", "no", is_retry_safe=False)
    refused = exceptions.InvalidRequestError("execution_details", "no", is_retry_safe=False)
    return {
        **errors,
        **{type(error).__name__: error for error in more},
        "refused result": refused,
        "refused token": token,
        "refused id": job_id,
        "own rule of ids": own_job_id,
    }


_ERRORS = _errors()
_NEW = Situation()
_CLAIMED = Situation(is_claimed=True)
_AGAIN = Situation(is_claimed=True, can_run_again=True)
_LOST = Situation(may_be_accepted=True)
_LOST_RESULT = Situation(is_claimed=True, may_be_accepted=True)
_EVENT = Situation(is_claimed=True, is_from_event=True)
_INHERITED = Situation(is_inherited=True)
_INHERITED_LOST = Situation(is_inherited=True, may_be_accepted=True)

_GONE = ("JobNotFoundException", "InvalidJobException")
_CREDENTIALS = ("AccessDeniedError", "ClockSkewError", "CredentialsError")
_SETUP = (*_CREDENTIALS, "ActionTypeNotFoundException")
_REFUSED = ("InvalidNonceException", "ServiceError")

# By step and situation: what follows an error, and for all errors that are not named, what follows those.
_EXPECTED: dict[tuple[Step, Situation], dict[tuple[str, ...] | None, tuple[Party, Next]]] = {
    (Step.POLL, _NEW): {
        (
            *("ActionTypeNotFoundException", "AccessDeniedError"),
            *("InvalidRequestError", "refused result", "own rule of ids"),
        ): (Party.PARTNER, Next.STOP),
        ("ClockSkewError", "CredentialsError"): (Party.PARTNER, Next.RECONNECT),
        None: (Party.SERVICE, Next.RETRY),
    },
    (Step.READ, _NEW): {
        _GONE: (Party.JOB, Next.END),
        ("InvalidClientTokenException",): (Party.PARTNER, Next.RENEW_TOKEN),
        ("NoTokenError", "InvalidRequestError", "refused result", "own rule of ids"): (Party.PARTNER, Next.REJECT),
        None: (Party.SERVICE, Next.REJECT),
    },
    (Step.READ, _CLAIMED): {
        _GONE: (Party.JOB, Next.END),
        (
            *("InvalidClientTokenException", "NoTokenError"),
            *("InvalidRequestError", "refused result", "own rule of ids"),
        ): (Party.PARTNER, Next.RENEW_TOKEN),
        _SETUP: (Party.PARTNER, Next.RECONNECT),
        None: (Party.SERVICE, Next.RETRY),
    },
    (Step.CLAIM, _NEW): {
        ("InvalidNonceException",): (Party.JOB, Next.LOSE_RACE),
        (*_GONE, "InvalidJobStateException"): (Party.JOB, Next.END),
        (
            *("ActionTypeNotFoundException", "InvalidClientTokenException", "ServiceError", "ValidationException"),
            *(*_CREDENTIALS, "InvalidRequestError", "OutputVariablesSizeExceededException"),
            *("refused result", "own rule of ids"),
        ): (Party.PARTNER, Next.REJECT),
        None: (Party.SERVICE, Next.RETRY),
    },
    (Step.CLAIM, _LOST): {
        ("InvalidNonceException",): (Party.JOB, Next.CONTINUE),
        (*_GONE, "InvalidJobStateException"): (Party.JOB, Next.END),
        ("InvalidClientTokenException",): (Party.PARTNER, Next.RENEW_TOKEN),
        _SETUP: (Party.PARTNER, Next.RECONNECT),
        None: (Party.SERVICE, Next.RETRY),
    },
    (Step.CLAIM, _INHERITED_LOST): {
        ("InvalidNonceException",): (Party.UNKNOWN, Next.END_AS_UNCERTAIN),
        (*_GONE, "InvalidJobStateException"): (Party.JOB, Next.END),
        ("InvalidClientTokenException",): (Party.PARTNER, Next.RENEW_TOKEN),
        _SETUP: (Party.PARTNER, Next.RECONNECT),
        None: (Party.SERVICE, Next.RETRY),
    },
    (Step.RUN, _CLAIMED): {
        ("ProcessDiedError",): (Party.JOB, Next.FAIL),
        ("InvalidClientTokenException",): (Party.PARTNER, Next.RENEW_TOKEN),
        _GONE: (Party.JOB, Next.END),
        None: (Party.PARTNER, Next.RETRY),
    },
    (Step.RUN, _AGAIN): {
        ("ProcessDiedError",): (Party.UNKNOWN, Next.RUN_AGAIN),
        ("InvalidClientTokenException",): (Party.PARTNER, Next.RENEW_TOKEN),
        _GONE: (Party.JOB, Next.END),
        None: (Party.PARTNER, Next.RETRY),
    },
    (Step.REPORT, _CLAIMED): {
        (*_GONE, "InvalidJobStateException"): (Party.JOB, Next.END),
        ("ValidationException", "OutputVariablesSizeExceededException", "refused result"): (
            Party.JOB,
            Next.SIMPLIFY_RESULT,
        ),
        (
            *("InvalidClientTokenException", "NoTokenError", "InvalidRequestError"),
            *("refused token", "refused id", "own rule of ids"),
        ): (Party.PARTNER, Next.RENEW_TOKEN),
        _SETUP: (Party.PARTNER, Next.RECONNECT),
        _REFUSED: (Party.SERVICE, Next.DROP_OPTIONAL_PARTS),
        ("NotHeldError",): (Party.PARTNER, Next.RETRY),
        None: (Party.SERVICE, Next.RETRY),
    },
    (Step.REPORT, _EVENT): {
        (*_GONE, "InvalidJobStateException", "refused id", "own rule of ids"): (Party.JOB, Next.END),
        ("ValidationException", "OutputVariablesSizeExceededException", "refused result"): (
            Party.JOB,
            Next.SIMPLIFY_RESULT,
        ),
        ("InvalidClientTokenException", "NoTokenError", "InvalidRequestError", "refused token"): (
            Party.PARTNER,
            Next.RENEW_TOKEN,
        ),
        _SETUP: (Party.PARTNER, Next.RECONNECT),
        _REFUSED: (Party.SERVICE, Next.DROP_OPTIONAL_PARTS),
        ("NotHeldError",): (Party.PARTNER, Next.RETRY),
        None: (Party.SERVICE, Next.RETRY),
    },
    (Step.REPORT, _LOST_RESULT): {
        ("InvalidJobStateException",): (Party.JOB, Next.END_AS_REPORTED),
        _GONE: (Party.JOB, Next.END),
        ("ValidationException", "OutputVariablesSizeExceededException", "refused result"): (
            Party.JOB,
            Next.SIMPLIFY_RESULT,
        ),
        (
            *("InvalidClientTokenException", "NoTokenError", "InvalidRequestError"),
            *("refused token", "refused id", "own rule of ids"),
        ): (Party.PARTNER, Next.RENEW_TOKEN),
        _SETUP: (Party.PARTNER, Next.RECONNECT),
        _REFUSED: (Party.SERVICE, Next.DROP_OPTIONAL_PARTS),
        ("NotHeldError",): (Party.PARTNER, Next.RETRY),
        None: (Party.SERVICE, Next.RETRY),
    },
}


def _expectations() -> list[tuple[Step, Situation, str, tuple[Party, Next]]]:
    found = []
    for (step, situation), rules in _EXPECTED.items():
        for name in _ERRORS:
            names = next((names for names in rules if names is not None and name in names), None)
            found.append((step, situation, name, rules[names]))
    return found


def _failing() -> list[str]:
    failing = []
    for step, situation, name, expected in _expectations():
        try:
            row = classify(step, _ERRORS[name], situation)
        except StopIteration:
            failing.append(f"{step.name} {name}: no row")
            continue
        if (row.party, row.next) != expected:
            failing.append(f"{step.name} {situation} {name}: {row.party.name} {row.next.name}")
    return failing


def test_each_failure_at_each_step_has_one_party_and_one_next_step() -> None:
    """The table decides as expected for each kind of error, at each step, in each situation."""
    assert _failing() == []


def test_the_parties_of_events_have_documented_names() -> None:
    """A partner's event handler compares `JobEvent.party` with these strings."""
    assert {party.name: party.value for party in Party} == {
        "JOB": "job",
        "PARTNER": "partner",
        "SERVICE": "service",
        "UNKNOWN": "unknown",
    }


@pytest.mark.parametrize("index", range(len(TABLE)))
def test_no_row_can_be_removed(index: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each row decides something that no other row decides in the same way."""
    monkeypatch.setattr(_failure_policy, "TABLE", TABLE[:index] + TABLE[index + 1 :])
    reasons = [row.reason for row in TABLE if row.reason == TABLE[index].reason]
    is_only_a_reason = bool(TABLE[index].reason) and len(reasons) == 1
    assert _failing() or is_only_a_reason


@pytest.mark.parametrize("index", range(len(TABLE) - 1))
def test_no_two_rows_can_be_swapped(index: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What follows one row is not what follows the next, or both are the same."""
    one, two = TABLE[index], TABLE[index + 1]
    if (one.party, one.next) == (two.party, two.next):
        two = next(row for row in TABLE if (row.party, row.next) != (one.party, one.next))
    position = TABLE.index(two)
    rows = list(TABLE)
    rows[index] = one._replace(party=two.party, next=two.next)
    rows[position] = two._replace(party=one.party, next=one.next)
    monkeypatch.setattr(_failure_policy, "TABLE", tuple(rows))
    assert _failing()


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("InvalidClientTokenException", "CodePipeline refuses its client token"),
        ("InvalidRequestError", "its client token or id breaks a rule"),
        ("ResponseDecodeError", "its details cannot be decoded"),
        ("TransportError", "its details could not be read"),
        ("NoTokenError", ""),  # the message of the error is the reason
    ],
)
def test_an_operator_reads_why_a_job_was_not_claimed(name: str, reason: str) -> None:
    """The reason is the library's own and holds no value."""
    assert classify(Step.READ, _ERRORS[name], _NEW).reason == reason


_REPORTS = (
    CustomJobClient.put_job_success_result,
    CustomJobClient.put_job_failure_result,
)
_PARTS_OF_RESULTS = {name for report in _REPORTS for name in inspect.signature(report).parameters} - {"self", "job_id"}


@pytest.mark.parametrize("parameter", sorted(_PARTS_OF_RESULTS))
def test_each_part_of_a_result_can_be_left_out(parameter: str) -> None:
    """If a parameter of a result breaks a rule, the worker reports the result without its optional parts."""
    error = exceptions.InvalidRequestError(parameter, "no", is_retry_safe=False)
    assert classify(Step.REPORT, error, _CLAIMED).next is Next.SIMPLIFY_RESULT
