"""The batches of one training process, in step with those of the others.

Each process reads its own part of the plan. What one of them meets all have to know before the next step, in which they wait for
one another: samples that are damaged count together, and a process that gets no batch ends the others with its reason.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object

from stage.errors import ViewforgeError
from training.data.batches import Damage, ViewBatch
from training.data.loader import PlannedLoader


@dataclass(frozen=True)
class _News:
    """What a process has to say after it has read, or could not."""

    rank: int
    damaged: tuple[Damage, ...] = ()
    failure: str = ""


class Feed:
    """Batches for as long as all processes have them.

    Args:
        loader: this process' part of the plan.
        accelerator: the processes.
    """

    def __init__(self, loader: PlannedLoader, accelerator: Accelerator) -> None:
        self._loader, self._accelerator = loader, accelerator

    def __iter__(self) -> Iterator[ViewBatch]:
        """This process' batches from the present place on, without an end.

        Raises:
            ViewforgeError: in every process, when one of them cannot read or too many samples are damaged.
        """
        batches = iter(self._loader)
        while True:
            yield self._next(batches)

    def state_dict(self) -> dict[str, Any]:
        """The place after the batch that came last, the same in every process."""
        return self._loader.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on at a saved place.

        Raises:
            InputError: when it is one in another sequence.
        """
        self._loader.load_state_dict(state)

    def _next(self, batches: Iterator[ViewBatch]) -> ViewBatch:
        known = len(self._loader.damaged)
        if self._accelerator.num_processes == 1:
            return next(batches)
        try:
            batch, failure = next(batches), ""
        except ViewforgeError as error:
            failure = str(error)
        self._hear(_News(self._accelerator.process_index, tuple(self._loader.damaged[known:]), failure))
        return batch

    def _hear(self, own: _News) -> None:
        """Tell the other processes, and take in what they say."""
        # One number goes round at every step; the news themselves only when there are some.
        telling = torch.tensor(float(bool(own.damaged or own.failure)), device=self._accelerator.device)
        if not self._accelerator.reduce(telling, "sum"):
            return
        told = gather_object([own])
        for news in told:
            if news.failure:
                raise ViewforgeError(news.failure)
        for news in told:
            if news.rank != own.rank:
                self._loader.count_damage(news.damaged)
