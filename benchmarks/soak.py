"""Many pipeline runs through the server, while processes are killed at random: `python -m benchmarks.soak`.

An installation (`viewforge up`) with a workspace of tiny objects gets one object more before each of `--runs` runs; nine of ten
are of `ingest/nightly`, each tenth of `pipeline/on-demand`, with training, evaluation and promotion. In a share of them one
process is killed by SIGKILL at a random moment: a flow's, a stage's, a Blender worker's, a trainer's, and now and then a
server's, a worker's or the supervisor's own. A run that did not complete is made up for by the next one. `viewforge gc
--delete` runs after every twentieth. With `--minutes` it begins no run after that time.

Goal: each run in which nothing is killed completes, no object lost or twice, no process left, no more handles or ports than after
the first runs, and disk use in proportion to the objects. `--quick` makes ten runs.
"""

import argparse
import math
import random
import socket
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import yaml

from benchmarks.soak_installation import PATIENCE_SECONDS, Installation
from benchmarks.soak_objects import astray, write_object
from benchmarks.soak_processes import PERMANENT, Held, described, held, kill_one, marked
from flows.workspaces import prepare

_FIRST_OBJECTS = 12
_WHOLE_EVERY = 10
_GC_EVERY = 20
_SETTLED_AFTER = 5
# Connections that happen to be open when they are counted.
_HANDLES_SPARE = 40
_POINTS_OF_A_CURVE = 4
_FASTER = 1.5
_PARAMETERS = """
seed: 0
catalog: {source: folder, path: %s, split: {val: 0.0, test: 0.3}, selection: {lists: inputs/lists}}
render: {views: 2, resolution: 16, quality: {samples: 1}}
splatter: {max_objects: 1, resolution: 16, check_views: 1, quality: {samples: 1}}
shard: {max_bytes: null}
train:
  steps: 2
  batch_size: 2
  checkpoint_every: 1
  zero123:
    unet: {block_channels: [32, 32]}
    autoencoder: {kind: space_to_depth, factor: 4}
    image_encoder: {image_size: 32, hidden_size: 32, embedding_dim: 32}
evaluate: {path: inputs/gso, views: 2, max_objects: 2, training_objects: 1, inference_steps: 1, quality: {samples: 1}}
register: {model_name: soak, gate: embedded}
flow: {attempts: 3, delay_seconds: 1}
"""


@dataclass
class Tally:
    """What happened so far."""

    states: Counter[str] = field(default_factory=Counter)
    kills: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    early: Held | None = None
    disk: dict[int, dict[str, int]] = field(default_factory=dict)
    """MiB by kind, after so many runs and a gc."""


def main() -> int:
    """Run the soak; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--minutes", type=float, default=math.inf, help="begin no run after these")
    parser.add_argument("--kill-share", type=float, default=0.4, help="of the runs in which a process is killed")
    parser.add_argument("--server-share", type=float, default=0.15, help="of the kills that hit a server or worker")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="where to work; it is kept then")
    parser.add_argument("--quick", action="store_true", help="ten runs")
    options = parser.parse_args()
    with _folder(options.folder) as folder:
        tally = soak(folder, 10 if options.quick else options.runs, options)
    for problem in tally.problems:
        print(f"problem: {problem}")
    print(f"soak: {len(tally.problems)} problems in {tally.states.total()} runs (goal 0)")
    return int(bool(tally.problems))


@contextmanager
def _folder(given: Path | None) -> Iterator[Path]:
    if given:
        given.mkdir(parents=True, exist_ok=True)
        yield given.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        yield Path(folder)


def soak(folder: Path, runs: int, options: argparse.Namespace) -> Tally:
    """Make the runs in a folder, and look after each whether all is well."""
    place = Installation(folder, uuid.uuid4().hex, *_free_ports())
    place.objects.mkdir(exist_ok=True)
    for number in range(_FIRST_OBJECTS):
        write_object(place.objects, number, options.seed)
    prepare(place.workspace, yaml.safe_load(_PARAMETERS % place.objects))
    tally, generator = Tally(), random.Random(options.seed)  # noqa: S311 - no secret
    place.up()
    until = time.monotonic() + 60 * options.minutes
    try:
        for number in range(runs):
            if time.monotonic() > until:
                runs = number
                break
            write_object(place.objects, _FIRST_OBJECTS + number, options.seed)
            _one(place, number, tally, generator, options)
        _make_up(place, runs, tally)
        _judge(place, tally, runs)
    finally:
        place.viewforge("down", "--workspace", str(place.workspace.root))
    if left := marked(place.mark):
        tally.problems.append(f"left after viewforge down: {[described(process) for process in left]}")
    return tally


def _one(
    place: Installation, number: int, tally: Tally, generator: random.Random, options: argparse.Namespace
) -> None:
    if "supervisor" not in map(described, marked(place.mark)):
        # Killed: nobody would start again what is killed next. An installation's owner calls up again, too.
        place.up()
    whole = number % _WHOLE_EVERY == _WHOLE_EVERY - 1
    started = time.monotonic()
    run = place.start_run("pipeline/on-demand" if whole else "ingest/nightly", f"soak-{number}")
    killer, before = None, tally.kills.total()
    if generator.random() < options.kill_share:
        killer = _killer(place, generator, tally, options.server_share, generator.uniform(1, 60 if whole else 25))
    state = place.end_of(run)
    if killer:
        killer.join()
    tally.states[state] += 1
    undisturbed = tally.kills.total() == before
    if state == "STUCK":
        tally.problems.append(f"run {number} did not end in {PATIENCE_SECONDS:.0f} s")
    elif undisturbed and state != "COMPLETED":
        tally.problems.append(f"run {number}, in which nothing was killed, ended as {state}")
    if state == "COMPLETED":
        tally.problems += [f"after run {number}: {problem}" for problem in astray(place.workspace, place.objects)]
    present = _settled(place, tally, f"run {number}")
    if number + 1 == _SETTLED_AFTER:
        tally.early = held(present)
    if (number + 1) % _GC_EVERY == 0:
        place.viewforge("gc", "--delete", "--workspace", str(place.workspace.root))
        tally.disk[number + 1] = place.disk()
    print(
        f"run {number}: {state}{'' if undisturbed else ', killed'} in {time.monotonic() - started:.0f} s", flush=True
    )


def _killer(
    place: Installation, generator: random.Random, tally: Tally, share_of_servers: float, delay: float
) -> threading.Thread:
    """Somebody who kills one process after a while."""
    permanent = [process.pid for process in marked(place.mark)]

    def strike() -> None:
        time.sleep(delay)
        if what := kill_one(place.mark, permanent, generator, share_of_servers):
            tally.kills[what] += 1

    thread = threading.Thread(target=strike, daemon=True)
    thread.start()
    return thread


def _judge(place: Installation, tally: Tally, runs: int) -> None:
    """What the servers hold after all runs beside what they held after the first, and the disk's use an object."""
    late = held(_settled(place, tally, "the end"))
    tally.disk[runs + 1] = place.disk()
    print(f"runs by state: {dict(tally.states)}")
    print(f"killed: {dict(tally.kills)}")
    print(f"after {_SETTLED_AFTER} runs: {tally.early}")
    print(f"at the end: {late}")
    for number, used in tally.disk.items():
        print(f"MiB after {number} runs: {used}")
    early = tally.early
    if early and (late.ports > early.ports or late.processes > early.processes):
        tally.problems.append("more ports or processes than after the first runs")
    if early and late.handles > early.handles + _HANDLES_SPARE:
        tally.problems.append(f"{late.handles} handles are open, {early.handles} were")
    tally.problems += _growth(tally.disk)


def _growth(disk: dict[int, dict[str, int]]) -> list[str]:
    """The disk's use may grow with the objects and no faster: a second half of the runs may not add more than the first did."""
    numbers = sorted(disk)
    if len(numbers) < _POINTS_OF_A_CURVE:
        return []
    first, middle, last = (
        disk[number]["all"] + disk[number]["temporary"]
        for number in (numbers[0], numbers[len(numbers) // 2], numbers[-1])
    )
    steps = (numbers[len(numbers) // 2] - numbers[0], numbers[-1] - numbers[len(numbers) // 2])
    before, after = (middle - first) / steps[0], (last - middle) / steps[1]
    if after > _FASTER * before + 1.0:
        return [f"the disk's use grows ever faster: {before:.1f} MiB a run at first, {after:.1f} at last"]
    return []


def _free_ports() -> tuple[int, int]:
    with socket.socket() as first, socket.socket() as second:
        for probe in (first, second):
            probe.bind(("127.0.0.1", 0))
        return int(first.getsockname()[1]), int(second.getsockname()[1])


def _make_up(place: Installation, runs: int, tally: Tally) -> None:
    """A last whole run, which nobody disturbs: now everything has to be there."""
    state = place.end_of(place.start_run("pipeline/on-demand", f"soak-{runs}"))
    if state != "COMPLETED":
        tally.problems.append(f"the last, undisturbed run ended as {state}")
    tally.problems += [f"at the end: {problem}" for problem in astray(place.workspace, place.objects)]


def _settled(place: Installation, tally: Tally, when: str) -> list[psutil.Process]:
    """The installation's processes once no run has any; what a run leaves behind for a minute is a problem."""
    deadline = time.monotonic() + 60
    while True:
        present = marked(place.mark)
        left = [process for process in present if described(process) not in PERMANENT]
        if not left:
            return present
        if time.monotonic() > deadline:
            tally.problems.append(f"after {when} these are left: {[described(process) for process in left]}")
            return present
        time.sleep(1)


if __name__ == "__main__":
    sys.exit(main())
