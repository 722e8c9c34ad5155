"""Brings a shard set up to its objects again and again from the same state, each time killed before another file operation.

python killed_writer.py TEMPLATE PLACE MAX_BYTES COMPACT

Copies the workspace TEMPLATE to PLACE/0, PLACE/1 … and forks a writer for each, which sends itself SIGKILL before its first,
second, third … operation on a file of its workspace, until one ends undisturbed; prints how many were killed. Python announces
every opening, renaming, linking and removal to its audit hooks before it happens, so the moments are the same ones each time.
COMPACT is 1 or 0.
"""

import os
import shutil
import signal
import sys
from itertools import count
from pathlib import Path

from stage.workspace import Workspace
from training.data.shard_parameters import ShardParameters
from training.data.writer import write_shards

_OPERATIONS = ("open", "os.rename", "os.link", "os.remove", "os.mkdir", "os.rmdir", "shutil.rmtree")


def die_before(number: int, root: str) -> None:
    """Kill this process before one of the operations on files below a folder."""
    seen = count()

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        ours = event in _OPERATIONS and any(str(argument).startswith(root) for argument in arguments)
        if ours and next(seen) == number:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def killed(root: Path, number: int, parameters: ShardParameters, compact: bool) -> bool:
    """Whether a writer came as far as this operation."""
    child = os.fork()
    if child == 0:
        die_before(number, str(root))
        write_shards(parameters, Workspace(root), compact)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    assert status in (0, signal.SIGKILL), f"the writer ended with {status}"
    return status == signal.SIGKILL


def main() -> None:
    """Kill writers until one is too quick."""
    template, place = map(Path, sys.argv[1:3])
    max_bytes, compact = map(int, sys.argv[3:])
    parameters = ShardParameters(max_bytes=max_bytes, workers=1)
    for turn in count():
        root = Path(shutil.copytree(template, place / str(turn)))
        if not killed(root, turn, parameters, bool(compact)):
            shutil.rmtree(root)
            print(turn)
            return


if __name__ == "__main__":
    main()
