"""Tiny worker functions that misbehave in every way an asset can make Blender misbehave; imported by worker processes."""

import ctypes
import errno
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from stage.failures import FailureClass, ObjectFailedError

CORES_AT_IMPORT = len(os.sched_getaffinity(0))


def cores(job: dict[str, Any]) -> dict[str, Any]:
    """How many cores the process sees, as it is loaded and afterwards."""
    return {"at import": CORES_AT_IMPORT, "now": len(os.sched_getaffinity(0))}


def echo(job: dict[str, Any]) -> dict[str, Any]:
    return {"echo": job["value"], "pid": os.getpid()}


def talk(job: dict[str, Any]) -> dict[str, Any]:
    """Print what could be taken for an answer, from Python, from C and from a child process."""
    print('{"result": {"echo": "python"}}', flush=True)
    ctypes.CDLL(None).puts(b'{"result": {"echo": "C"}}')
    subprocess.run(["echo", '{"result": {"echo": "child"}}'], check=True)
    return {"echo": job["value"]}


def act(job: dict[str, Any]) -> dict[str, Any]:
    """Do what `job["do"]` says."""
    _ACTS[job.get("do", "nothing")](job)
    return {"echo": job["value"], "pid": os.getpid()}


def sleep_with_child(job: dict[str, Any]) -> dict[str, Any]:
    """Start a grandchild of the supervisor, write down both process ids, and never come back."""
    child = subprocess.Popen(["sleep", "600"])
    partial = Path(job["pids"]).with_suffix(".part")
    partial.write_text(f"{os.getpid()} {child.pid}")
    partial.rename(job["pids"])
    time.sleep(600)
    return {}


def litter(job: dict[str, Any]) -> dict[str, Any]:
    """Leave a file where temporary files go."""
    descriptor, path = tempfile.mkstemp()
    os.close(descriptor)
    return {"path": path}


def threads(job: dict[str, Any]) -> dict[str, Any]:
    return {name: os.environ[name] for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}


def _refuse(job: dict[str, Any]) -> None:
    raise ObjectFailedError(FailureClass[job["failure"]], "an object that cannot be used")


def _raise(job: dict[str, Any]) -> None:
    print("what Blender said before", file=sys.stderr)
    raise KeyError(job["value"])


def _fail_once(job: dict[str, Any]) -> None:
    marker = Path(job["marker"])
    if not marker.exists():
        marker.touch()
        raise RuntimeError("the first attempt always fails")


def _mark_and_raise(job: dict[str, Any]) -> None:
    with Path(job["marks"]).open("a") as stream:
        stream.write(f"{time.monotonic()}\n")
    raise RuntimeError("every attempt fails")


def _segfault(job: dict[str, Any]) -> None:
    ctypes.string_at(0)


def _kill(job: dict[str, Any]) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _exit(job: dict[str, Any]) -> None:
    os._exit(0)


def _die_after_answering(job: dict[str, Any]) -> None:
    deadline = time.monotonic() + 20
    while "after" in job and not Path(job["after"]).exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    threading.Timer(0.1, _kill, [job]).start()


def _wait(job: dict[str, Any]) -> None:
    if "marker" in job:
        Path(job["marker"]).touch()
    time.sleep(job["seconds"])


def _mark_and_wait(job: dict[str, Any]) -> None:
    with Path(job["marks"]).open("a") as stream:
        stream.write(f"{job['value']}\n")
    time.sleep(job["seconds"])


def _kill_the_supervisor(job: dict[str, Any]) -> None:
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(60)


def _grow(job: dict[str, Any]) -> None:
    hoard = bytearray(os.urandom(1 << 20) * job["mebibytes"])
    time.sleep(60)
    del hoard


_HOARD: list[bytes] = []


def _hoard(job: dict[str, Any]) -> None:
    """Keep some memory after the job, as Blender does, until the supervisor has looked."""
    _HOARD.append(os.urandom(1 << 20) * job["mebibytes"])


def _say_and_kill(job: dict[str, Any]) -> None:
    print("much before\n" * 1000 + "the last words", file=sys.stderr, flush=True)
    _kill(job)


def _babble(job: dict[str, Any]) -> None:
    for _ in range(job["mebibytes"]):
        os.write(2, b"babble " * (1 << 17))


def _out_of_python_memory(job: dict[str, Any]) -> None:
    raise MemoryError


def _fill_disk(job: dict[str, Any]) -> None:
    number = getattr(errno, job["errno"])
    raise OSError(number, os.strerror(number))


def _nothing(job: dict[str, Any]) -> None:
    pass


_ACTS = {
    "refuse": _refuse,
    "raise": _raise,
    "fail once": _fail_once,
    "mark and raise": _mark_and_raise,
    "segfault": _segfault,
    "kill": _kill,
    "exit": _exit,
    "die after answering": _die_after_answering,
    "wait": _wait,
    "mark and wait": _mark_and_wait,
    "kill the supervisor": _kill_the_supervisor,
    "grow": _grow,
    "out of Python's memory": _out_of_python_memory,
    "fill the disk": _fill_disk,
    "nothing": _nothing,
    "hoard": _hoard,
    "say and kill": _say_and_kill,
    "babble": _babble,
}
