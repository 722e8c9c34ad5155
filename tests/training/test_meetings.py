"""How the machines of a training agree where an attempt meets, also when one of them was started again alone."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from stage.errors import StageFailedError, StageKilledError
from training.launching.meetings import Meeting, Meetings


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.launching.meetings._LOOK_SECONDS", 0.02)
    monkeypatch.setattr("training.launching.meetings.JOIN_SECONDS", 20)


def meetings(room: Path, machine: int) -> Meetings:
    return Meetings(room, machine, 2, lambda: None)


@contextmanager
def soon(room: Path, host: Meetings, attempt: int) -> Iterator[None]:
    """Machine 0 calls to an attempt a moment later, for as long as this is entered."""
    ended = threading.Event()

    def call() -> None:
        ended.wait(0.2)
        with host.at(attempt):
            ended.wait(20)

    thread = threading.Thread(target=call)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def test_one_machine_waits_for_nobody(tmp_path: Path) -> None:
    with Meetings(tmp_path / "room", 0, 1, lambda: None).at(3) as meeting:
        assert meeting == Meeting(attempt=3)
    assert not (tmp_path / "room").exists()


def test_all_come_to_the_attempt_of_machine_0_whichever_their_own_is(tmp_path: Path) -> None:
    room = tmp_path / "room"
    host, other = meetings(room, 0), meetings(room, 1)
    with host.at(1) as first, other.at(1) as found:
        assert (found.name, found.attempt) == (first.name, 1)
    with host.at(2) as second:
        with other.at(2) as found:
            assert (found.name, found.attempt) == (second.name, 2)
        with meetings(room, 1).at(1) as found:
            assert (found.name, found.attempt) == (second.name, 2), "one that was started again"
    assert len({first.name, second.name}) == 2
    assert list(room.iterdir()) == []


def test_a_meeting_that_is_over_or_was_left_behind_is_not_come_to(tmp_path: Path) -> None:
    room = tmp_path / "room"
    room.mkdir()
    left = '{"attempt": 7, "count": 3, "name": "left"}'
    (room / "meeting.json").write_text(left)
    other, host = meetings(room, 1), meetings(room, 0)
    with soon(room, host, 1), other.at(1) as first:
        assert first.attempt == 1
    with host.at(1) as over:
        pass
    (room / "meeting.json").write_text(left)
    with soon(room, host, 2), other.at(2) as second:
        assert second.name not in {first.name, over.name, "left"}


def test_a_machine_0_that_does_not_come_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.launching.meetings.JOIN_SECONDS", 0.1)
    with (
        pytest.raises(StageKilledError, match=r"machine 0 called to no attempt for 0\.1 s"),
        meetings(tmp_path, 1).at(1),
    ):
        pass


def test_who_waits_heeds_that_machine_0_ended_for_good(tmp_path: Path) -> None:
    def heed() -> None:
        raise StageFailedError("machine 0 ended")

    with pytest.raises(StageFailedError, match="machine 0 ended"), Meetings(tmp_path, 1, 2, heed).at(1):
        pass
