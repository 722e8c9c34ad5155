"""Datasets of a mixture: how many samples each has, how often it comes, and how many draws a visit of a sample gives."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Int

from stage.errors import ParameterError
from stage.seeds import generator


@dataclass(frozen=True, eq=False)
class Mixed:
    """A dataset's part in a mixture.

    Raises:
        ParameterError: when a number is out of range or they contradict each other.
    """

    name: str
    samples: int
    probability: float = 1.0
    """Share of the epoch's draws that are of this dataset; those of a plan sum to 1."""
    draws: int | Int[np.ndarray, " n"] = 1
    """Draws in a row at each visit of a sample, for all or for each; 0 leaves a sample out. ZeroNVS' `rate`: `draws_at_rate`."""
    shards: tuple[int, ...] = ()
    """Samples of each shard in the order of their numbers; needed for the order `window`."""

    def __post_init__(self) -> None:
        if self.samples < 1 or not 0 < self.probability <= 1:
            raise ParameterError(
                f"dataset {self.name}: {self.samples} samples with probability {self.probability}",
                "give it at least one sample and a probability in (0, 1], or leave it out",
            )
        if np.ndim(self.draws) and len(self._each) != self.samples:
            raise ParameterError(f"dataset {self.name}: draws of {len(self._each)} samples, it has {self.samples}")
        if np.min(self.draws) < 0 or self.length < 1:
            raise ParameterError(f"dataset {self.name}: no sample is drawn", "draws ≥ 0, and ≥ 1 for some of them")
        if self.shards and sum(self.shards) != self.samples:
            raise ParameterError(f"dataset {self.name}: shards of {sum(self.shards)} samples, it has {self.samples}")

    @property
    def _each(self) -> Int[np.ndarray, " n"]:
        return np.asarray(self.draws)

    @cached_property
    def length(self) -> int:
        """Draws that read the dataset once through."""
        return int(self._each.sum()) if np.ndim(self.draws) else int(self.draws) * self.samples

    @cached_property
    def drawn(self) -> Int[np.ndarray, " m"]:
        """Numbers of the samples that are drawn at all."""
        return np.flatnonzero(np.broadcast_to(self._each, self.samples))

    def stand_in(self, seed: int, draw: int, attempt: int) -> int:
        """The sample that takes a draw's place when its own is damaged, and the next when that is too.

        It follows from the draw alone, so the same one comes wherever and in whatever process the damage is found.
        """
        chance = generator(seed, f"{self.name} draw {draw}", f"stand-in {attempt}")
        return int(self.drawn[chance.integers(len(self.drawn))])

    def described(self) -> dict[str, Any]:
        """What two plans must share for their sequences to be the same, as JSON values."""
        each = hashlib.sha256(self._each.astype("<i8").tobytes()).hexdigest() if np.ndim(self.draws) else self.draws
        shards = hashlib.sha256(repr(self.shards).encode()).hexdigest()
        parts = {"name": self.name, "samples": self.samples, "probability": self.probability}
        return {**parts, "draws": each, "shards": shards}


def draws_at_rate(rate: float | str, views: Int[np.ndarray, " n"] | Sequence[int]) -> Int[np.ndarray, " n"]:
    """ZeroNVS' `rate` as draws of each scene: ⌊rate × its views⌋, or k for the text `k_per_scene`.

    As there (`ldm/data/webdataset_co3d.py`), a scene that is too short for one pair at this rate is left out.

    Raises:
        ParameterError: when the rate is neither.
    """
    counts = np.asarray(views)
    if isinstance(rate, str):
        number, _, rest = rate.partition("_")
        if rest != "per_scene" or not number.isdecimal():
            raise ParameterError(f"rate {rate!r}", "a number of pairs per view, or a text such as 2_per_scene")
        return np.full(len(counts), int(number))
    return (rate * counts).astype(np.int64)
