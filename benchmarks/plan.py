"""What it costs to plan an epoch and to go on in the middle of one: `python -m benchmarks.plan`.

800,000 objects, as one dataset and as a mixture of three, in either order, with ZeroNVS' global batch of 1536. Planned means that
every batch of the epoch has been asked for. Going on means that a fresh process has the batch in the middle of the fourth epoch.
Goals: 5 s each, and 500 MB of peak memory of a process that does nothing else, its imports included. `--quick` plans 80,000
objects against the same memory and a tenth of the seconds.
"""

import argparse
import multiprocessing
import resource
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor

from training.data.mixture import Mixed
from training.data.orders import Order
from training.data.plan import Plan

_OBJECTS = 800_000
_QUICK_OBJECTS = 80_000
_GOAL_SECONDS = 5.0
_GOAL_MEGABYTES = 500.0
_BATCH = 1536
_SHARD = 100


def one(objects: int, order: Order) -> Plan:
    """A single dataset."""
    return Plan((_mixed("objects", objects, 1.0),), _BATCH, seed=0, order=order)


def mixture(objects: int, order: Order) -> Plan:
    """ZeroNVS' three shares, whose datasets are of unlike sizes."""
    parts = (("co3d", 0.34, 5), ("re10k", 0.33, 2), ("acid", 0.33, 1))
    return Plan(
        tuple(_mixed(name, objects * eighths // 8, p) for name, p, eighths in parts), _BATCH, seed=0, order=order
    )


def _mixed(name: str, samples: int, probability: float) -> Mixed:
    return Mixed(name, samples, probability, shards=(_SHARD,) * (samples // _SHARD))


Made = Callable[[int, Order], Plan]


def plan_epoch(made: Made, objects: int, order: Order) -> tuple[float, float]:
    """Seconds and megabytes to have every batch of an epoch."""
    started = time.perf_counter()
    epoch = made(objects, order).epoch(0)
    drawn = sum(len(epoch.batch(number)) for number in range(len(epoch)))
    assert drawn == objects // _BATCH * _BATCH
    return time.perf_counter() - started, _peak()


def resume(made: Made, objects: int, order: Order) -> tuple[float, float]:
    """Seconds and megabytes to have the batch in the middle of the fourth epoch."""
    started = time.perf_counter()
    plan = made(objects, order)
    assert len(plan.epoch(3).batch(plan.batches // 2)) == _BATCH
    return time.perf_counter() - started, _peak()


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def _apart(
    phase: Callable[[Made, int, Order], tuple[float, float]], made: Made, objects: int, order: Order
) -> tuple[float, float]:
    """A phase in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(phase, made, objects, order).result()


def main() -> int:
    """Measure; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="80,000 objects")
    quick = parser.parse_args().quick
    objects, goal = (_QUICK_OBJECTS, _GOAL_SECONDS / 10) if quick else (_OBJECTS, _GOAL_SECONDS)
    slowest, largest = 0.0, 0.0
    for made in (one, mixture):
        orders: tuple[Order, ...] = ("full", "window")
        for order in orders:
            for phase in (plan_epoch, resume):
                seconds, megabytes = _apart(phase, made, objects, order)
                name = f"{phase.__name__}, {made.__name__}, {order}, {objects:,} objects"
                print(f"{name}: {seconds:.2f} s (goal {goal:.1f} s), {megabytes:.0f} MB")
                slowest, largest = max(slowest, seconds), max(largest, megabytes)
    print(f"peak memory: {largest:.0f} MB (goal {_GOAL_MEGABYTES:.0f} MB)")
    print(f"plan: {slowest:.2f} s (goal {goal:.1f} s)")
    return int(slowest > goal or largest > _GOAL_MEGABYTES)


if __name__ == "__main__":
    sys.exit(main())
