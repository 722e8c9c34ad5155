"""Processes that make scenes beside one another, handed out in the order in which they were asked for."""

import multiprocessing
import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from types import TracebackType
from typing import Self

from stage.errors import StageKilledError
from stage.lifeline import die_with
from training.data.preparation.scene_making import MadeScene, Making, make_scene
from training.data.preparation.source_scenes import SourceScene

# Scenes that wait to be written while all processes make others.
_AHEAD = 2


class SceneMakers:
    """Processes of this machine, as a context manager that leaves none behind.

    Args:
        processes: that make scenes; with one, none is started.
    """

    def __init__(self, processes: int) -> None:
        self.processes = processes
        # Forking a process with threads would copy their locks.
        spawn = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(processes, spawn, die_with, (os.getpid(),)) if processes > 1 else None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool:
            # After a mistake nobody waits for scenes.
            self._pool.shutdown(wait=kind is None, cancel_futures=True)

    def made(self, scenes: Sequence[SourceScene], split: str, making: Making) -> Iterator[MadeScene]:
        """What comes of each scene; only so many are on their way at once that memory lasts.

        Raises:
            StageKilledError: when a process was killed.
        """
        if self._pool is None:
            yield from (make_scene(scene, split, making) for scene in scenes)
            return
        running: deque[Future[MadeScene]] = deque()
        try:
            for scene in scenes:
                running.append(self._pool.submit(make_scene, scene, split, making))
                if len(running) == self.processes + _AHEAD:
                    yield running.popleft().result()
            while running:
                yield running.popleft().result()
        except BrokenProcessPool:
            raise StageKilledError("a process that makes scenes", "run it again: finished shards are kept") from None
