"""The executor with real worker processes: whatever a worker does, each object has one outcome and the others theirs."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from stage.errors import StageFailedError
from stage.executor import ExecutorParameters, Job
from stage.executor_local import LocalExecutor
from stage.failures import FailureClass, Outcome

HERE = Path(__file__).resolve().parent
ECHO = "worker_handlers:echo"


@pytest.fixture(autouse=True)
def _importable_handlers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(HERE))


def run(handler: str, payloads: list[dict[str, Any]], **limits: Any) -> dict[str, Outcome]:
    """Outcomes by uid; the uid of the n-th job is "object n" and its value n."""
    jobs = [Job(f"object {number}", {"value": number, **payload}) for number, payload in enumerate(payloads)]
    outcomes = list(LocalExecutor(ExecutorParameters(**limits)).run(f"worker_handlers:{handler}", jobs))
    assert sorted(o.uid for o in outcomes) == sorted(job.uid for job in jobs), "one outcome an object"
    return {outcome.uid: outcome for outcome in outcomes}


def eventually(condition: Callable[[], bool], seconds: float = 10.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def gone(pid: int) -> bool:
    """Whether a process has ended; one that nobody has collected yet counts as ended."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_every_job_gets_its_own_answer() -> None:
    outcomes = run("echo", [{}] * 7, workers=2)
    assert all(outcome.ok and outcome.attempt == 1 for outcome in outcomes.values())
    assert [outcomes[f"object {number}"].result["echo"] for number in range(7)] == list(range(7))
    assert len({outcome.result["pid"] for outcome in outcomes.values()}) <= 2


def test_temporary_files_of_workers_go_with_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    outcomes = run("litter", [{}] * 3, workers=2, recycle_after=1)
    assert all(Path(outcome.result["path"]).is_relative_to(tmp_path) for outcome in outcomes.values())
    assert list(tmp_path.iterdir()) == []


def test_no_jobs_start_no_workers() -> None:
    assert run("module_that_is_nowhere:nothing", []) == {}


def test_what_a_handler_prints_does_not_break_the_protocol() -> None:
    outcomes = run("talk", [{}] * 3, workers=1)
    assert [outcomes[f"object {number}"].result["echo"] for number in range(3)] == [0, 1, 2]


def test_an_object_is_refused_with_the_class_that_the_handler_gives() -> None:
    outcomes = run("act", [{"do": "refuse", "failure": "DEGENERATE"}, {}], workers=1)
    refused = outcomes["object 0"]
    assert (refused.failure, refused.message) == (FailureClass.DEGENERATE, "an object that cannot be used")
    assert refused.attempt == 1, "a permanent failure is not tried again"
    assert outcomes["object 1"].ok


def test_an_unexpected_exception_is_an_error_with_its_trace_and_what_was_printed() -> None:
    failed = run("act", [{"do": "raise"}], workers=1, attempts=1)["object 0"]
    assert failed.failure is FailureClass.ERROR
    assert failed.message == "0"
    assert "what Blender said before" in failed.stderr_tail
    assert "KeyError" in failed.stderr_tail


def test_the_tail_of_standard_error_is_of_the_object_alone() -> None:
    outcomes = run("act", [{"do": "raise"}, {"do": "refuse", "failure": "EMPTY"}], workers=1, attempts=1)
    assert "what Blender said before" not in outcomes["object 1"].stderr_tail


def test_python_out_of_memory_is_out_of_memory() -> None:
    outcome = run("act", [{"do": "out of Python's memory"}], workers=1, attempts=1)["object 0"]
    assert outcome.failure is FailureClass.OUT_OF_MEMORY


@pytest.mark.parametrize(("death", "named"), [("segfault", "SIGSEGV"), ("kill", "SIGKILL"), ("exit", "exit status 0")])
def test_a_crash_is_charged_to_its_object_alone(death: str, named: str) -> None:
    outcomes = run("act", [{}, {"do": death}, {}, {}], workers=2, attempts=1)
    crashed = outcomes.pop("object 1")
    assert crashed.failure is FailureClass.CRASH
    assert named in crashed.message
    assert all(outcome.ok for outcome in outcomes.values())


def test_a_failure_that_may_pass_is_tried_again(tmp_path: Path) -> None:
    outcome = run("act", [{"do": "fail once", "marker": str(tmp_path / "marker")}], workers=1)["object 0"]
    assert outcome.ok
    assert outcome.attempt == 2


def test_another_attempt_waits_longer_each_time_and_holds_nobody_up(tmp_path: Path) -> None:
    marks = tmp_path / "attempts"
    jobs = [{"do": "mark and raise", "marks": str(marks)}, {}, {}]
    started = time.monotonic()
    outcomes = run("act", jobs, workers=1, attempts=3, retry_delay_seconds=0.6)
    first, second, third = (float(line) for line in marks.read_text().splitlines())
    assert second - first >= 0.6
    assert third - second >= 1.2
    assert outcomes["object 0"].attempt == 3
    assert outcomes["object 2"].ok
    assert time.monotonic() - started < 20


def test_a_failure_that_stays_is_reported_with_its_last_attempt() -> None:
    outcome = run("act", [{"do": "kill"}], workers=1, attempts=2)["object 0"]
    assert (outcome.failure, outcome.attempt) == (FailureClass.CRASH, 2)


def test_a_worker_that_dies_after_its_answer_harms_no_other_object() -> None:
    """Blender may crash late: the object was done, and the next one must not be charged."""
    jobs = [Job("late crash", {"value": 0, "do": "die after answering"}), Job("next", {"value": 1})]
    outcomes = []
    for outcome in LocalExecutor(ExecutorParameters(workers=1, attempts=1)).run("worker_handlers:act", jobs):
        outcomes.append((outcome.uid, outcome.failure))
        if outcome.uid == "late crash":
            assert eventually(lambda pid=outcome.result["pid"]: gone(pid)), "while nobody looks"  # type: ignore[misc]
    assert outcomes == [("late crash", None), ("next", None)]


def test_an_idle_worker_that_dies_does_not_end_the_stage(tmp_path: Path) -> None:
    marker = str(tmp_path / "the other worker is busy")
    busy = {"do": "wait", "seconds": 1.0, "marker": marker}
    outcomes = run("act", [{"do": "die after answering", "after": marker}, busy], workers=2, attempts=1)
    assert all(outcome.ok for outcome in outcomes.values())


def test_past_the_time_limit_the_whole_process_group_is_killed(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    outcome = run("sleep_with_child", [{"pids": str(pids)}], workers=1, attempts=1, timeout_seconds=2.0)["object 0"]
    assert outcome.failure is FailureClass.TIMEOUT
    assert "2 s" in outcome.message
    worker, grandchild = (int(pid) for pid in pids.read_text().split())
    assert eventually(lambda: gone(worker) and gone(grandchild))


def test_a_slow_object_does_not_hold_up_its_neighbours() -> None:
    slow = {"do": "wait", "seconds": 60}
    outcomes = run("act", [slow, {}, {}, {}], workers=2, attempts=1, timeout_seconds=1.5)
    assert outcomes.pop("object 0").failure is FailureClass.TIMEOUT
    assert all(outcome.ok for outcome in outcomes.values())


def test_past_the_memory_limit_the_worker_is_killed() -> None:
    outcomes = run("act", [{"do": "grow", "mebibytes": 200}, {}], workers=1, attempts=1, memory_limit_gib=0.1)
    assert outcomes["object 0"].failure is FailureClass.OUT_OF_MEMORY
    assert outcomes["object 0"].peak_memory_bytes > 0.1 * 2**30
    assert "0.1 GiB" in outcomes["object 0"].message
    assert outcomes["object 1"].ok


def test_workers_are_replaced_after_their_share_of_objects() -> None:
    outcomes = run("echo", [{}] * 6, workers=1, recycle_after=2)
    served = [outcomes[f"object {number}"].result["pid"] for number in range(6)]
    assert all(served.count(pid) == 2 for pid in served)


@pytest.mark.parametrize("name", ["ENOSPC", "EFBIG", "EDQUOT"])
def test_a_full_disk_ends_the_stage_instead_of_failing_every_object(name: str) -> None:
    with pytest.raises(StageFailedError, match=r"no space left on the disk.*finished objects are kept"):
        run("act", [{"do": "fill the disk", "errno": name}] * 3, workers=2)


def test_a_worker_that_cannot_start_ends_the_stage_with_its_reason() -> None:
    jobs = [Job("object", {})]
    with pytest.raises(
        StageFailedError, match=r"could not start, 3 times in a row: ModuleNotFoundError.*no_such_module"
    ):
        list(LocalExecutor(ExecutorParameters(workers=1)).run("no_such_module:function", jobs))


def test_a_start_that_fails_once_does_not_end_the_stage(tmp_path: Path) -> None:
    outcome = run("act", [{}], workers=1)["object 0"]
    assert outcome.ok
    code = "import signal, os, pathlib\nmarker = pathlib.Path({!r})\nif not marker.exists():\n    marker.touch()\n"
    code += "    os.kill(os.getpid(), signal.SIGKILL)\ndef echo(job):\n    return {{'pid': os.getpid()}}\n"
    (tmp_path / "weak.py").write_text(code.format(str(tmp_path / "marker")))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(tmp_path))
        (second,) = LocalExecutor(ExecutorParameters(workers=1)).run("weak:echo", [Job("object", {})])
    assert second.ok
    assert second.attempt == 1


def test_a_crash_tells_the_end_of_what_its_object_said() -> None:
    outcomes = run("act", [{"do": "say and kill"}, {}], workers=1, attempts=1)
    assert outcomes["object 0"].stderr_tail.endswith("the last words\n")
    assert len(outcomes["object 0"].stderr_tail) <= 2000
    assert outcomes["object 1"].ok


def test_endless_output_costs_the_supervisor_no_memory() -> None:
    outcome = run("act", [{"do": "babble", "mebibytes": 50}], workers=1, attempts=1)["object 0"]
    assert outcome.ok


def test_workers_that_grow_are_replaced() -> None:
    hoards = [{"do": "hoard", "mebibytes": 60}] * 6
    outcomes = run("act", hoards, workers=1, recycle_growth_gib=0.1)
    served = [outcomes[f"object {number}"].result["pid"] for number in range(6)]
    assert all(served.count(pid) == 3 for pid in served), "the first, and two that grow by 60 MiB each"


def test_the_jobs_are_taken_one_by_one() -> None:
    taken: list[int] = []

    def jobs() -> Iterator[Job]:
        for number in range(400):
            taken.append(number)
            yield Job(f"{number}", {"value": number})

    outcomes = LocalExecutor(ExecutorParameters(workers=2)).run("worker_handlers:echo", jobs())
    for done, _ in enumerate(outcomes, start=1):
        assert len(taken) <= done + 5
    assert done == 400


def test_the_supervisor_does_not_grow_with_the_number_of_objects() -> None:
    supervisor = psutil.Process()
    jobs = (Job(f"{number}", {"value": number, "padding": "x" * 10_000}) for number in range(1000))
    seen = []
    for number, _ in enumerate(LocalExecutor(ExecutorParameters(workers=2, recycle_after=5000)).run(ECHO, jobs)):
        if number % 250 == 249:
            seen.append(supervisor.memory_info().rss)
    assert seen[-1] - seen[0] < 3 << 20


def test_workers_end_when_nobody_asks_for_more_outcomes() -> None:
    jobs = [Job(f"{number}", {"value": number}) for number in range(4)]
    outcomes = LocalExecutor(ExecutorParameters(workers=1)).run("worker_handlers:echo", jobs)
    worker = next(outcomes).result["pid"]
    outcomes.close()  # type: ignore[attr-defined]
    assert gone(worker)


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one core")
def test_thread_pools_are_made_for_as_many_cores_as_a_worker_may_use() -> None:
    outcome = run("cores", [{}], workers=1, threads=1)["object 0"]
    assert outcome.result == {"at import": 1, "now": len(os.sched_getaffinity(0))}


def test_the_cores_are_shared_out_between_the_workers() -> None:
    parameters = ExecutorParameters(workers=1)
    outcome = run("threads", [{}], workers=1)["object 0"]
    assert set(outcome.result.values()) == {str(parameters.threads_per_worker())}
    assert parameters.threads_per_worker() == len(os.sched_getaffinity(0))
    assert ExecutorParameters(workers=1000).threads_per_worker() == 1
    assert ExecutorParameters().worker_count() == len(os.sched_getaffinity(0))


_SUPERVISOR = """
import sys
from stage.executor import ExecutorParameters, Job
from stage.executor_local import LocalExecutor
job = Job("object", {"pids": sys.argv[1]})
list(LocalExecutor(ExecutorParameters(workers=1)).run("worker_handlers:sleep_with_child", [job]))
"""


def test_workers_die_with_a_supervisor_that_is_killed(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    supervisor = subprocess.Popen([sys.executable, "-c", _SUPERVISOR, str(pids)])
    try:
        assert eventually(pids.exists)
    finally:
        supervisor.send_signal(signal.SIGKILL)
        supervisor.wait()
    worker, grandchild = (int(pid) for pid in pids.read_text().split())
    assert eventually(lambda: gone(worker) and gone(grandchild))


def test_the_next_run_removes_what_a_killed_supervisor_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    pids = tmp_path / "pids"
    supervisors = [
        subprocess.Popen([sys.executable, "-c", _SUPERVISOR, str(pids) + str(number)]) for number in range(2)
    ]
    try:
        assert eventually(lambda: all(Path(str(pids) + str(number)).exists() for number in range(2)))
        supervisors[0].kill()
        supervisors[0].wait()
        left = set((tmp_path / "temporary").iterdir())
        assert len(left) == 2
        run("echo", [{}], workers=1)
        assert len(left & set((tmp_path / "temporary").iterdir())) == 1, "that of the living one stays"
        assert supervisors[1].poll() is None
    finally:
        for supervisor in supervisors:
            supervisor.kill()
            supervisor.wait()
