"""The moving average of a training's weights, with the warm-up of Zero-1-to-3: a decay of min(decay, (1 + n) / (10 + n)).

n counts the averages from 1, as in LDM (ldm/modules/ema.py); before the first one stand the weights that the run begins with.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from diffusers.training_utils import EMAModel
from torch import nn

from training.processes import placed_as, whole

# diffusers' own count is one behind: its first average would be the weights after the first step.
_FROM_ONE = -1


class WeightAverage:
    """The moving average of named weights; it is split among the processes as they are.

    Args:
        named: the weights.
        decay: what the warm-up ends at.
    """

    def __init__(self, named: Mapping[str, nn.Parameter], decay: float) -> None:
        self._named = dict(named)
        self._ema = EMAModel(self._named.values(), decay=decay, update_after_step=_FROM_ONE, foreach=True)

    def step(self) -> None:
        """Take in the weights as they are now."""
        self._ema.step(self._named.values())

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The averages in the weights' place; then the weights are back, bit for bit. Not for weights that are split."""
        self._ema.store(self._named.values())
        self._ema.copy_to(self._named.values())
        try:
            yield
        finally:
            self._ema.restore(self._named.values())

    def tensors(self) -> dict[str, torch.Tensor]:
        """The averages, whole and on the CPU; all processes have to call this."""
        shadows = zip(self._named, self._ema.shadow_params, strict=True)
        return {name: whole(shadow).cpu() for name, shadow in shadows}

    def set(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Put whole tensors in the averages' place."""
        self._ema.shadow_params = [
            placed_as(tensors[name], parameter.detach()).clone() for name, parameter in self._named.items()
        ]

    def state_dict(self) -> dict[str, Any]:
        """How many times weights were taken in."""
        return {"taken": self._ema.optimization_step}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on counting."""
        self._ema.optimization_step = state["taken"]
