"""Failures as data: which are tried again, what a ledger row holds, when a stage gives up and what it says."""

import json

import pytest

from stage.errors import StageFailedError
from stage.failures import FailureClass, Outcome, check_failure_rate


def outcome(uid: str, failure: FailureClass | None = None, message: str = "") -> Outcome:
    return Outcome(uid, failure, message, "", 1, 0.5, 1 << 20, {"faces": 3})


FAILED = [outcome(f"object-{n}", FailureClass.PARSE, f"reason {n}") for n in range(5)]


def test_what_a_second_attempt_may_mend_is_transient() -> None:
    transient = {failure for failure in FailureClass if failure.transient}
    assert transient >= {
        FailureClass.CRASH,
        FailureClass.TIMEOUT,
        FailureClass.OUT_OF_MEMORY,
        FailureClass.DOWNLOAD,
    }
    assert not transient & {FailureClass.PARSE, FailureClass.EMPTY, FailureClass.DEGENERATE, FailureClass.UNSAFE}


def test_what_may_be_back_by_the_next_run_does_not_last() -> None:
    lasting = {failure for failure in FailureClass if failure.lasting}
    assert lasting >= {FailureClass.PARSE, FailureClass.UNSAFE, FailureClass.BLANK}
    assert not lasting & {FailureClass.MISSING, FailureClass.CHECKSUM, FailureClass.DOWNLOAD, FailureClass.CRASH}


def test_a_row_is_plain_json_without_the_workers_answer() -> None:
    row = json.loads(json.dumps(FAILED[0].row()))
    assert row["failure"] == "parse"
    assert "result" not in row
    assert outcome("fine").row()["failure"] == ""


def test_a_stage_with_too_many_failures_says_how_many_which_and_why() -> None:
    with pytest.raises(StageFailedError) as caught:
        check_failure_rate("render", [outcome("fine"), *FAILED], total=20, max_failure_rate=0.2)
    message = str(caught.value)
    assert message.startswith("render: 5 of 20 objects failed, over the limit of 20%: object-0 (parse: reason 0), ")
    assert "object-2 (parse: reason 2) and 2 more" in message
    assert "object-3" not in message
    assert "render.max_failure_rate" in message
    assert "\n" not in message


def test_just_the_limit_is_allowed() -> None:
    check_failure_rate("render", FAILED, total=25, max_failure_rate=0.2)
    check_failure_rate("render", FAILED, total=5, max_failure_rate=1.0)
    check_failure_rate("render", [], total=0, max_failure_rate=0.0)


def test_a_limit_of_zero_allows_no_failure() -> None:
    with pytest.raises(StageFailedError, match="1 of 1000 objects failed, over the limit of 0%"):
        check_failure_rate("render", FAILED[:1], total=1000, max_failure_rate=0.0)
