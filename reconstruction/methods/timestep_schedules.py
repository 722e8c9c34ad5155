"""Which timesteps a prior is asked at: SJC's fixed range, SDS's annealed one, ZeroNVS's that lags behind the input.

Timesteps count noise, 0 the cleanest and T − 1 the noisiest. Both ends of a range are drawn.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Int
from pydantic import model_validator
from torch import Generator, Tensor

from reconstruction.methods.weight_schedules import Ramp
from stage.parameters import Parameters

# `us[30:-10]` of noise levels from the noisiest to the cleanest (cvlab-columbia/zero123 `3drec/run_zero123.py`).
SJC_SKIPPED_NOISIEST = 30
SJC_SKIPPED_CLEANEST = 10


@dataclass(frozen=True)
class TimestepRange:
    """The timesteps `least` to `most`, both included."""

    least: int
    most: int

    def draw(self, count: int, generator: Generator) -> Int[Tensor, " n"]:
        """Independent uniform timesteps."""
        return torch.randint(self.least, self.most + 1, (count,), generator=generator)


def sjc_range(
    trained: int, skipped_noisiest: int = SJC_SKIPPED_NOISIEST, skipped_cleanest: int = SJC_SKIPPED_CLEANEST
) -> TimestepRange:
    """SJC's: all but the noisiest 30 and the cleanest 10 of T = 1000, which are 10 to 969.

    The published list begins with the noisiest level, so that its entry j is timestep T − 1 − j and `us[30:-10]` has the
    timesteps 969 down to 10.

    Args:
        trained: T of the schedule.
        skipped_noisiest: how many at the noisy end are never drawn.
        skipped_cleanest: how many at the clean end.
    """
    return TimestepRange(skipped_cleanest, trained - 1 - skipped_noisiest)


class Annealing(Parameters):
    """The range of timesteps as shares of T, both of whose ends sink while the run goes on."""

    least: Ramp
    """The cleanest that is drawn."""
    most: Ramp
    """The noisiest that is drawn."""

    @model_validator(mode="after")
    def _ordered(self) -> "Annealing":
        """Two broken lines that are in order where either breaks are in order everywhere."""
        knots = [0.0, self.least.first, self.least.last, self.most.first, self.most.last, 1.0]
        if any(not 0.0 <= self.least.at(knot) <= self.most.at(knot) <= 1.0 for knot in knots):
            raise ValueError("least is above most somewhere, or one of them is outside of [0, 1]")
        return self

    def at(self, share: float, trained: int) -> TimestepRange:
        """The range at a share of the run: ⌊T·least⌋ to ⌊T·most⌋, the latter at most T − 1."""
        return TimestepRange(int(trained * self.least.at(share)), min(trained - 1, int(trained * self.most.at(share))))


THREESTUDIO_ANNEALING = Annealing(
    least=Ramp(start=0.4, end=0.2, last=200 / 600), most=Ramp(start=0.85, end=0.5, last=200 / 600)
)
"""threestudio's for Zero-1-to-3: until step 200 of 600 (`configs/zero123.yaml`)."""
ZERONVS_ANNEALING = Annealing(
    least=Ramp(start=0.75, end=0.02, last=0.25), most=Ramp(start=0.98, end=0.025, first=0.25, last=0.625)
)
"""ZeroNVS's: the clean end until step 1000 of 4000, the noisy one from there until 2500 (`configs/zero123_scene.yaml`)."""
ZERONVS_LAG = 0.25
"""ZeroNVS's anisotropic offset, 1000 of 4000 steps."""


def azimuth_distance(azimuth: float, other: float) -> float:
    """Angle in [0, π] between two azimuths, radians."""
    apart = (azimuth - other) % (2.0 * math.pi)
    return min(apart, 2.0 * math.pi - apart)


def lagging_share(share: float, azimuth: float, input_azimuth: float, lag: float = ZERONVS_LAG) -> float:
    """The share of the run that a camera's timesteps are taken at, the farther from the input the earlier.

    max(0, share − lag·d/π) with d the azimuths' distance: what is seen from the input settles first, and the back stays noisy
    while the front is fixed (kylesargent/ZeroNVS `zero123_guidance.py`, `use_anisotropic_schedule`; there in whole steps).

    Args:
        share: of the run, done.
        azimuth: of the camera, radians.
        input_azimuth: of the input's camera, radians.
        lag: how far the opposite side is behind, as a share of the run.
    """
    return max(0.0, share - lag * azimuth_distance(azimuth, input_azimuth) / math.pi)
