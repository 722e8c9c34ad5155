"""The worker process: runs one function over the jobs that its supervisor sends, one at a time.

`python -m stage.worker_host module:function` reads one JSON job a line from standard input and answers each with
one JSON line on the original standard output. What the function or Blender prints goes to standard error. The process dies
with its supervisor, and what it started dies with it.
"""

import importlib
import json
import os
import re
import shutil
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

from stage.errors import is_full_disk
from stage.failures import FailureClass, ObjectFailedError
from stage.lifeline import die_with_parent, end_group_with_me

# Less than the smallest thing that a job writes.
_ROOM_TO_WORK = 1 << 16
_CAUSE = re.compile(r"[\w.]+(Error|Exception)\b")
Handler = Callable[[dict[str, Any]], dict[str, Any]]


def load_handler(name: str) -> Handler:
    """The function that `module:function` names."""
    module, _, function = name.partition(":")
    with _cores(int(os.environ.get("OMP_NUM_THREADS", "0"))):
        return getattr(importlib.import_module(module), function)


@contextmanager
def _cores(count: int) -> Iterator[None]:
    """So many of this process's cores within the block, where 0 leaves all.

    Blender's thread pool counts cores when it is loaded. A pool of more threads than Cycles uses takes a whole core to spin on.
    """
    if not count or not hasattr(os, "sched_setaffinity"):
        yield
        return
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(cores)[:count])
    try:
        yield
    finally:
        # Threads that were started meanwhile have inherited the few.
        for thread in Path("/proc/self/task").iterdir():
            with suppress(ProcessLookupError):
                os.sched_setaffinity(int(thread.name), cores)


def classify(error: BaseException, output: str | None = None) -> FailureClass:
    """The class of a failure that the handler did not classify itself.

    Args:
        error: what the handler raised.
        output: where the job writes; Blender does not say why it could not write, but a full disk shows.
    """
    if isinstance(error, ObjectFailedError) and error.failure is not FailureClass.ERROR:
        return error.failure
    if output and _disk_is_full(Path(output)):
        return FailureClass.DISK
    if isinstance(error, MemoryError):
        return FailureClass.OUT_OF_MEMORY
    if is_full_disk(error):
        return FailureClass.DISK
    return FailureClass.ERROR


def _disk_is_full(output: Path) -> bool:
    place = next(folder for folder in output.absolute().parents if folder.is_dir())
    return shutil.disk_usage(place).free < _ROOM_TO_WORK


def _in_one_line(error: BaseException) -> str:
    """The first line of a message; Blender's operators hand on a whole traceback, whose cause is further down."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    causes = [line for line in lines if _CAUSE.match(line)] if "Traceback" in str(error) else lines
    return causes[0] if causes else repr(error)


def answer(handler: Handler, job: dict[str, Any]) -> dict[str, Any]:
    """Run the handler on one job; an exception becomes a classified answer, with its trace on standard error."""
    try:
        return {"result": handler(job)}
    except Exception as error:  # noqa: BLE001 - whatever an asset provokes is that asset's failure
        traceback.print_exc()
        return {
            "failure": classify(error, job.get("output")),
            "message": _in_one_line(error),
        }


def _claim_stdout() -> TextIO:
    """The original standard output for answers; file descriptor 1 becomes standard error for everyone else."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    return answers


def main() -> None:
    """Serve jobs until standard input ends."""
    die_with_parent()
    end_group_with_me()
    answers = _claim_stdout()
    handler = load_handler(sys.argv[1])
    print(json.dumps({"ready": True}), file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(answer(handler, json.loads(line))), file=answers, flush=True)
    # bpy may crash while it tears itself down; every answer has been sent by now.
    answers.close()
    os._exit(0)


if __name__ == "__main__":
    main()
