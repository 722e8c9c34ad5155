"""What an optimisation is to the loop: things that learn, losses of a step, and a picture of how far it is."""

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from PIL import Image
from torch import Tensor, nn


class Task(Protocol):
    """One optimisation of a field."""

    @property
    def name(self) -> str:
        """Of the method, as `neus`."""

    @property
    def subject(self) -> str:
        """The object, as its uid: seeds derive from it."""

    @property
    def memory_remedy(self) -> str:
        """What to lower when a step takes more memory than there is, as `lower neus.rays`."""

    @property
    def fingerprint(self) -> Mapping[str, Any]:
        """What the field follows from besides method, subject and seed; a checkpoint of another one is refused.

        In names, numbers, words and digests, so that a message can tell what differs.
        """

    def modules(self) -> Mapping[str, nn.Module]:
        """What learns, by name; their parameters and buffers are what a checkpoint holds."""

    def optimizer(self) -> torch.optim.Optimizer:
        """Of their parameters; the same one at each call."""

    def losses(self, step: int, generator: torch.Generator) -> Mapping[str, Tensor]:
        """The weighted terms of a step, whose sum is minimised.

        Args:
            step: counted from 0. Learning rates and weights of terms are functions of it, so that a resumed run has them.
            generator: on the CPU, seeded by run, object and step; the only source of randomness.
        """

    def stepped(self, step: int) -> None:
        """The optimiser took this step."""

    def preview(self, step: int) -> Image.Image:
        """How the field looks; it must not use the frameworks' generators."""

    def state_dict(self) -> dict[str, Any]:
        """What else a resumed run needs, in tensors, numbers and strings, as an occupancy."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from it."""
