"""What the stages of a cascade are asked for: every wanted view, and the near views of every input."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor

from systems.cascade_zero123.conditioning import PromptEmbeddings, asked_poses, near_poses
from systems.cascade_zero123.prompts import Offset, near_position
from systems.zero123.schedulers import Generators


@dataclass(frozen=True)
class Stage:
    """What one stage before the last made, pictures in [0, 1] on the CPU."""

    coarse: Float[Tensor, "n 3 h w"]
    """The wanted views."""
    near: Float[Tensor, "m k 3 h w"]
    """The near views of each input, in the order of their offsets."""


@dataclass(frozen=True)
class Asked:
    """The views that a stage before the last is asked for: the n wanted ones, then the k near ones of each of m inputs."""

    poses: Float[Tensor, "r 4"]
    """T of each relative to its input; r = n + m k."""
    inputs: Int[Tensor, " r"]
    """The input of each."""
    offsets: Float[Tensor, "m k 3"]
    """(Δθ, Δφ, Δr) of each near view from its input."""
    wanted: int
    """n."""

    @property
    def near_poses(self) -> Float[Tensor, "r k 4"]:
        """T of each view relative to each near view of its input."""
        return near_poses(self.poses, self.offsets[self.inputs])

    def prompts(self, embeddings: Float[Tensor, "r d"]) -> PromptEmbeddings:
        """What the next stage is shown for each view, from the embeddings of what this stage made."""
        inputs, count = self.offsets.shape[:2]
        near = embeddings[self.wanted :].reshape(inputs, count, embeddings.shape[-1])
        return PromptEmbeddings(embeddings, near[self.inputs], self.near_poses.to(embeddings))

    def stage(self, pictures: Float[Tensor, "r 3 h w"]) -> Stage:
        """The pictures that were made, sorted."""
        return Stage(pictures[: self.wanted], pictures[self.wanted :].unflatten(0, self.offsets.shape[:2]))

    def generators(self, given: Generators, repeats: int) -> Generators:
        """Sources of noise for what is asked for: a view's own first one, and an input's near views that of its first view."""
        if not isinstance(given, Sequence):
            return given
        firsts = list(given)[::repeats]
        first_of = [int((self.inputs[: self.wanted] == each).nonzero()[0]) for each in range(len(self.offsets))]
        near: list[Generator] = [firsts[view] for view in first_of for _ in range(self.offsets.shape[1])]
        return [*firsts, *near]


def asked(
    poses: Float[Tensor, "n 4"], inputs: int, offsets: Sequence[Offset], polars: Sequence[float | None]
) -> Asked:
    """What stages are asked for.

    Args:
        poses: T of each wanted view.
        inputs: how many inputs there are: one for all views, or one for each.
        offsets: of near views.
        polars: polar angle of each input, radians, so that near views end at the poles as in training; None where nobody knows.
    """
    placed = torch.tensor([[_placed(offset, polar) for offset in offsets] for polar in polars])
    placed = placed.reshape(inputs, len(offsets), 3).to(poses)
    near = asked_poses(placed).flatten(0, 1)
    of_views = torch.arange(len(poses)).clamp(max=inputs - 1)
    of_near = torch.arange(inputs).repeat_interleave(len(offsets))
    return Asked(torch.cat([poses, near]), torch.cat([of_views, of_near]), placed, len(poses))


def _placed(offset: Offset, polar: float | None) -> tuple[float, float, float]:
    if polar is None:
        return offset.polar, offset.azimuth, offset.radius
    reached = near_position((polar, 0.0, 0.0), offset)
    return reached[0] - polar, reached[1], reached[2]
