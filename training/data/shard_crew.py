"""Who writes shards and who carries them off: processes that encode, and threads that flush and deliver what is written.

Only so many shards are on their way at once that those which wait for a slow network do not fill the disk.
"""

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool

from stage.errors import StageKilledError
from stage.lifeline import die_with
from training.data.index import IndexRow
from training.data.shard_file import Draft, ShardWriter
from training.data.shard_plan import PlannedShard

# Finished shards that may be on their way while all processes write.
_CARRIERS = 2

Take = Callable[[PlannedShard, Sequence[IndexRow]], None]
Written = tuple[PlannedShard, Sequence[IndexRow]]


def written_shards(
    writer: ShardWriter, plan: Sequence[PlannedShard], processes: int, threads: int, take: Take
) -> Iterator[Written]:
    """Each planned shard once it is written and delivered, in any order.

    Args:
        writer: writes one.
        plan: those to be written.
        processes: that write; with one, none is started.
        threads: that write in its place.
        take: delivers a finished one; called by threads.

    Raises:
        StageKilledError: when a process that writes was killed.
    """
    if not plan:
        return
    most = (processes if processes > 1 else threads) + _CARRIERS
    with _writers(processes, threads) as writers, ThreadPoolExecutor(most) as carriers:
        running: set[Future[Written]] = set()
        try:
            for shard in plan:
                if len(running) == most:
                    done, running = wait(running, return_when=FIRST_COMPLETED)
                    yield from (future.result() for future in done)
                running.add(carriers.submit(_carry, writers.submit(writer.write, shard), shard, writer, take))
            while running:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in done)
        except BrokenProcessPool:
            raise StageKilledError(
                "a process that writes shards", "run viewforge shard again: what is finished is kept"
            ) from None
        finally:
            # After a mistake nobody waits for the others' shards.
            writers.shutdown(wait=False, cancel_futures=True)


def _writers(processes: int, threads: int) -> Executor:
    if processes <= 1:
        return ThreadPoolExecutor(threads)
    # Forking a process with threads would copy their locks.
    return ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), die_with, (os.getpid(),))


def _carry(writing: "Future[Draft]", shard: PlannedShard, writer: ShardWriter, take: Take) -> Written:
    draft = writing.result()
    writer.finish(shard, draft)
    take(shard, draft.rows)
    return shard, draft.rows
