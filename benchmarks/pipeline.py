"""How long the whole pipeline takes on the embedded default, from an empty workspace: `python -m benchmarks.pipeline`.

Goal: 600 s on two CPU cores. `--quick` takes a small pipeline of about a minute with a goal of its own. Also printed: the
seconds of a second run that finds everything fresh.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

_GOAL_SECONDS = 600.0
_QUICK_GOAL_SECONDS = 150.0
_QUICK = (
    "catalog.objects=16",
    "render.views=4",
    "render.resolution=32",
    "splatter.max_objects=1",
    "splatter.resolution=64",
    "train.steps=40",
    "evaluate.views=4",
    "evaluate.training_objects=2",
)


def timed_run(workspace: Path, assignments: tuple[str, ...]) -> float:
    """Wall-clock seconds of `viewforge run` in a workspace.

    Raises:
        subprocess.CalledProcessError: when the run fails.
    """
    options = [part for assignment in assignments for part in ("--set", assignment)]
    started = time.monotonic()
    command = [sys.executable, "-m", "cli.main", "run", "--workspace", str(workspace), *options]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - started


def main() -> int:
    """Measure; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a small pipeline of about a minute")
    quick = parser.parse_args().quick
    with tempfile.TemporaryDirectory() as folder:
        assignments = _QUICK if quick else ()
        first = timed_run(Path(folder) / "workspace", assignments)
        again = timed_run(Path(folder) / "workspace", ())
    goal = _QUICK_GOAL_SECONDS if quick else _GOAL_SECONDS
    print(f"second run, everything fresh: {again:.0f} s")
    print(f"pipeline: {first:.0f} s (goal {goal:.0f} s)")
    return int(first > goal)


if __name__ == "__main__":
    sys.exit(main())
