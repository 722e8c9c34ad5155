"""Heartbeats and their judge: who is dead, who hangs, and who only waits for slow data."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from training.launching.heartbeat import HEARTBEATS_VARIABLE, Beat, Heartbeat, Pulse, read_beats
from training.launching.watch import Listener, Watch
from training.parameters import LaunchParameters

BEAT = Beat(rank=0, host="a", process=10, step=5, phase="step", computing_seconds=1.0, slowest_seconds=0.5, count=1)
OTHER = replace(BEAT, rank=1, process=11)
PATIENT = LaunchParameters(processes=2, silence_seconds=40)


def beating(listener: Listener, seconds: int, beats: dict[str, Beat], silent: tuple[str, ...] = ()) -> str | None:
    """A second at a time: all but the silent ones beat; what is said in the end."""
    for second in range(seconds):
        heard = {k: b if k in silent else replace(b, count=b.count + second + 1) for k, b in beats.items()}
        if verdict := listener.hear(heard, 1.0):
            return f"{second}: {verdict.kind}: {verdict.message}"
    return None


def test_a_silent_process_is_named_with_its_place() -> None:
    said = beating(
        Listener(PATIENT, "machine-0"),
        60,
        {"machine-0/0.json": BEAT, "machine-0/1.json": OTHER},
        ("machine-0/1.json",),
    )
    assert said == "41: silent: rank 1 on a (process 11, step 5) has given no sign of life for 41 s"


def test_slow_data_are_no_silence_however_long_they_take() -> None:
    waiting = {
        "machine-0/0.json": replace(BEAT, computing_seconds=5000.0),
        "machine-0/1.json": replace(OTHER, phase="data"),
    }
    assert beating(Listener(PATIENT, "machine-0"), 1000, waiting) is None


def test_a_start_has_more_time() -> None:
    starting = {"machine-0/0.json": replace(BEAT, phase="start", step=0)}
    said = beating(Listener(PATIENT, "machine-0"), 200, starting, ("machine-0/0.json",))
    assert said is not None
    assert said.startswith("121: silent")


def test_a_step_that_all_compute_for_too_long_hangs() -> None:
    hanging = {
        "machine-0/0.json": replace(BEAT, computing_seconds=301),
        "machine-1/1.json": replace(OTHER, computing_seconds=302),
    }
    said = beating(Listener(PATIENT, "machine-0"), 2, hanging)
    assert said is not None
    assert "stuck: " in said
    assert "has computed for 301 s, and the slowest before took 0.5 s" in said
    slow = {name: replace(beat, slowest_seconds=20.0) for name, beat in hanging.items()}
    assert beating(Listener(PATIENT, "machine-0"), 2, slow) is None, "20 times the slowest step"


def test_the_process_that_the_others_wait_for_is_the_one_that_hangs() -> None:
    beats = {
        "machine-0/0.json": replace(BEAT, step=6, phase="data"),
        "machine-0/1.json": replace(OTHER, computing_seconds=400),
    }
    said = beating(Listener(PATIENT, "machine-0"), 2, beats)
    assert said is not None
    assert "stuck: rank 1 on a (process 11, step 5) has computed for 400 s" in said


def test_what_another_machine_left_behind_is_not_heard_before_it_changes() -> None:
    listener = Listener(PATIENT, "machine-0")
    old = {"machine-0/0.json": BEAT, "machine-1/0.json": replace(OTHER, host="b", step=900)}
    assert beating(listener, 100, old, ("machine-1/0.json",)) is None
    beating(listener, 3, old)
    said = beating(listener, 60, old, ("machine-1/0.json",))
    assert said is not None
    assert "silent: rank 1 on b" in said


def test_who_ended_is_not_waited_for() -> None:
    listener = Listener(PATIENT, "machine-0")
    both = {"machine-0/0.json": BEAT, "machine-0/1.json": OTHER}
    assert beating(listener, 3, both) is None
    assert beating(listener, 100, {"machine-0/0.json": BEAT}) is None


def test_a_heartbeat_says_where_the_process_is_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {HEARTBEATS_VARIABLE: str(tmp_path / "machine-0"), "RANK": "3", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    pulse = Pulse()
    with Heartbeat(pulse, silence_seconds=0.2):
        for step in (1, 2):
            pulse.enter("data", step)
            pulse.enter("step", step)
            time.sleep(0.05)
        pulse.enter("save", 2)
        slowest = pulse.slowest_seconds
        deadline = time.monotonic() + 10
        while not (beats := read_beats(tmp_path)) or beats["machine-0/1.json"].phase != "save":
            assert time.monotonic() < deadline
        beat = beats["machine-0/1.json"]
    assert (beat.rank, beat.step, beat.process) == (3, 2, os.getpid())
    assert beat.slowest_seconds == round(slowest, 3) > 0.04
    assert read_beats(tmp_path) == {}


def test_a_process_that_ends_by_an_error_falls_silent_for_other_machines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(HEARTBEATS_VARIABLE, str(tmp_path / "machine-0"))

    def work() -> None:
        with Heartbeat(Pulse(), silence_seconds=0.2):
            deadline = time.monotonic() + 10
            while not read_beats(tmp_path):
                assert time.monotonic() < deadline
            raise MemoryError

    with pytest.raises(MemoryError):
        work()
    left = read_beats(tmp_path)
    assert list(left) == ["machine-0/0.json"]
    # As machine 1 hears it, which heard it beat before.
    listener = Listener(PATIENT, "machine-1")
    beating(listener, 3, {"machine-0/0.json": replace(left["machine-0/0.json"], count=0, phase="step")})
    said = beating(listener, 60, {"machine-0/0.json": replace(left["machine-0/0.json"], phase="step")}, tuple(left))
    assert said is not None
    assert "silent" in said


def test_what_is_no_heartbeat_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "machine-0").mkdir()
    (tmp_path / "machine-0" / "0.json").write_text("{")
    (tmp_path / "machine-0" / "1.json").write_text(json.dumps({"rank": 0}))
    assert read_beats(tmp_path) == {}


def test_a_folder_that_cannot_go_ends_no_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network disk keeps one in which a file is open."""
    folder = tmp_path / "machine-0"
    folder.mkdir()
    monkeypatch.setattr("training.launching.watch.shutil.rmtree", lambda *_, **__: None)
    assert Watch(PATIENT, tmp_path, 0).environment() == {HEARTBEATS_VARIABLE: str(folder)}


BEATING = """
import sys, time
from training.launching.heartbeat import Heartbeat, Pulse
pulse = Pulse()
with Heartbeat(pulse, 1.0):
    pulse.enter("data", 1)
    print("up", flush=True)
    time.sleep(600)
"""


def test_a_stopped_process_is_ended_with_its_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Path] = []

    def away(room: Path) -> dict[str, Beat]:
        """As where another machine begins anew and its folder goes while it is listed."""
        asked.append(room)
        if len(asked) == 1:
            raise FileNotFoundError
        return read_beats(room)

    monkeypatch.setattr("training.launching.watch.read_beats", away)
    watch = Watch(LaunchParameters(silence_seconds=1), tmp_path, 0)
    process = subprocess.Popen(
        [sys.executable, "-c", BEATING],
        env={**os.environ, **watch.environment()},
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"
    # Who was stopped before its first sign of life was never there.
    deadline = time.monotonic() + 30.0
    while not read_beats(tmp_path):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    try:
        with watch.over(process.pid):
            process.send_signal(signal.SIGSTOP)
            assert process.wait(30) == -signal.SIGKILL
    finally:
        process.kill()
        process.communicate()
    assert watch.verdict is not None
    assert watch.verdict.kind == "silent"
