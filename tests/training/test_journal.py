"""The journal of a run: nothing noted is lost by a kill, and a resumed run notes nothing twice."""

import io
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.tracking.drain import Drain
from training.tracking.journal import Entry, Journal, whole_lines

Figures = list[tuple[str, int]]


def noted(journal: Journal) -> Figures:
    """Every figure in it with its step, in the order in which a server gets them."""
    return [(key, entry["step"]) for entry in journal.entries() if "step" in entry for key in entry["values"]]


def note_steps(journal: Journal, steps: range) -> None:
    for step in steps:
        journal.append_step("metrics", {"loss": step / 10}, step, time=1000 + step)


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal(tmp_path / "journal")
    yield journal
    journal.close()


def test_what_a_killed_process_noted_is_there(tmp_path: Path) -> None:
    program = (
        "import os, signal, sys; from pathlib import Path; from training.tracking.journal import Journal\n"
        "journal = Journal(Path(sys.argv[1])); journal.append({'kind': 'tags', 'values': {'a': 'ü'}})\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    process = subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False)
    assert process.returncode == -signal.SIGKILL
    assert Journal(tmp_path).entries() == [{"kind": "tags", "values": {"a": "ü"}}]


def test_a_line_cut_short_is_dropped_and_the_next_is_whole(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    note_steps(journal, range(1, 3))
    journal.close()
    with (tmp_path / "journal.jsonl").open("a") as stream:
        stream.write('{"kind": "metr')
    mended = Journal(tmp_path)
    note_steps(mended, range(3, 4))
    assert noted(mended) == [("loss", 1), ("loss", 2), ("loss", 3)]


@given(done=st.integers(0, 8), logged=st.integers(0, 8), delivered=st.integers(0, 8), attempted=st.integers(0, 8))
def test_a_resumed_run_has_each_figure_once(
    tmp_path_factory: pytest.TempPathFactory, done: int, logged: int, delivered: int, attempted: int
) -> None:
    """Whatever the server had, or may have had, when the process was killed after `logged` steps."""
    folder = tmp_path_factory.mktemp("journal")
    journal = Journal(folder)
    note_steps(journal, range(1, logged + 1))
    journal.attempting(journal.pending(max(attempted, delivered)).end)
    journal.delivered(journal.pending(delivered).end)
    sent = noted(journal)[: max(attempted, delivered)]
    journal.close()
    resumed = Journal(folder)
    resumed.rewind(min(done, logged))
    note_steps(resumed, range(min(done, logged) + 1, 11))
    assert sorted(noted(resumed)) == [("loss", step) for step in range(1, 11)]
    assert noted(resumed)[: len(sent)] == sent, "what may have arrived is sent again as it was"
    resumed.close()


def test_what_a_step_does_not_own_outlives_a_rewind(journal: Journal) -> None:
    kept: list[Entry] = [
        {"kind": "tags", "values": {"a": "b"}},
        {"kind": "system", "values": {"system/cpu": 1.0}, "step": 9, "time": 1},
    ]
    for entry in kept:
        journal.append(entry)
    note_steps(journal, range(1, 5))
    journal.rewind(0)
    assert journal.entries() == kept


class Growing(io.RawIOBase):
    """A file that a reader finds half written, and a moment later whole."""

    def __init__(self, *parts: bytes) -> None:
        self.parts = list(parts)

    def readable(self) -> bool:
        """As a raw stream is asked."""
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """The next part, or nothing for now."""
        part = self.parts.pop(0) if self.parts else b""
        buffer[: len(part)] = part
        return len(part)


def test_a_line_that_is_being_written_waits_for_its_end() -> None:
    """Kernels show a write over the border of two pages in two steps."""
    stream = io.BufferedReader(Growing(b'{"step": 1}\n{"kind": "metrics", ', b"", b'"values": {}}\n'))
    assert list(whole_lines(stream)) == [b'{"step": 1}\n']


class Server:
    """A server in this process that is away for its first answers."""

    def __init__(self, away: int) -> None:
        self.away = away
        self.got: list[Entry] = []

    def attach(self) -> bool:
        """Whether it is new."""
        return not self.got

    def deliver(self, entries: list[Entry]) -> None:
        """Take them, or be away."""
        if self.away:
            self.away -= 1
            raise ConnectionError("nobody there")
        self.got += entries


def test_the_drain_delivers_in_order_after_the_server_was_away(
    journal: Journal, capsys: pytest.CaptureFixture[str]
) -> None:
    server = Server(away=2)
    drain = Drain(journal, lambda: server, "http://server")
    drain.start()
    note_steps(journal, range(1, 2000))
    assert drain.close(patience=60)
    assert [entry["step"] for entry in server.got] == list(range(1, 2000))
    assert journal.complete
    said = capsys.readouterr().err
    assert said.count("does not take figures (nobody there)") == 1
    assert "takes figures again" in said


def test_the_end_waits_a_bounded_time(journal: Journal) -> None:
    note_steps(journal, range(1, 3))
    assert not Drain(journal, lambda: Server(away=10**6), "http://server").close(patience=0.5)
    assert json.loads((journal.folder / "sent.json").read_text())["delivered"] == 0
    assert not journal.complete
