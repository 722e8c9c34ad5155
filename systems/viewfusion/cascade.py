"""What Cascade-Zero123's Refiner is told of views: each condition brings prompts of its own.

Base-0123 is asked from every condition for the wanted view, coarsely, and once a condition for its near views. That is a sampling
of 25 steps beside the fused one, of a picture for each condition. It samples with the cascade's own settings of prompts.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from systems.cascade_zero123.conditioning import PromptEmbeddings, near_poses
from systems.cascade_zero123.guidance import prompted
from systems.cascade_zero123.pipeline import CascadePipeline
from systems.cascade_zero123.stages import Asked, asked
from systems.viewfusion.conditions import Conditioner, SeenView, poses_from, together
from systems.viewfusion.trajectory import Position
from systems.zero123.encoding import embed_images
from systems.zero123.guidance import Condition, conditioned
from systems.zero123.sampler_options import SamplerOptions


@dataclass(frozen=True, eq=False)
class PromptingView(SeenView):
    """A view, and the near views of it."""

    near: Asked
    """Their relative poses."""
    shown: list[Float[Tensor, "k d"]]
    """Their embeddings, once they are made: with the first view that is made from this one."""


class CascadeConditioner(Conditioner[CascadePipeline]):
    """Tells a cascade of views."""

    def see(self, picture: Float[Tensor, "1 3 h w"], position: Position, given: bool) -> SeenView:
        """Encode a view; its near views are asked for when they are needed."""
        near = asked(torch.zeros(0, 4), 1, self.base.offsets, [position.polar])
        return PromptingView(position, given, self.base.encoded(picture), near, [])

    def condition(self, target: Position, views: Sequence[SeenView], options: SamplerOptions) -> Condition:
        """What the Refiner is told: see `Conditioner`, and behind it the tokens of each condition's prompts."""
        prompting = [view for view in views if isinstance(view, PromptingView)]
        condition = super().condition(target, views, options)
        poses = poses_from(target, views)
        coarse = self._drafted(poses, prompting, options)
        near = torch.stack([view.shown[0] for view in prompting])
        placed = near_poses(poses, torch.cat([view.near.offsets for view in prompting])).to(coarse)
        prompts = PromptEmbeddings(coarse, near, placed)
        return prompted(condition, self.base.cc_projection, prompts, options.null_condition)

    def _drafted(
        self, poses: Float[Tensor, "n 4"], views: list[PromptingView], options: SamplerOptions
    ) -> Float[Tensor, "n d"]:
        """Embeddings of the Base's pictures of the wanted view; the near views that are not there yet are made beside them."""
        new = [number for number, view in enumerate(views) if not view.shown]
        count = len(self.base.offsets)
        sources = torch.cat([torch.arange(len(views)), torch.tensor(new, dtype=torch.long).repeat_interleave(count)])
        asked_for = torch.cat([poses, *(views[number].near.poses for number in new)])
        encoded, base = together(views), self.base.base
        asked_for = asked_for.to(encoded.embedding)
        condition = conditioned(
            base.cc_projection, encoded.embedding, encoded.latent, asked_for, sources, "after_projection"
        )
        pictures = base.sampled_from(condition, self.base.draft_options(options)) * 2 - 1
        parts = pictures.to(encoded.embedding).split(options.batch_size or len(pictures))
        embeddings = torch.cat([embed_images(self.base.image_encoder, part) for part in parts])
        near = embeddings[len(views) :].reshape(len(new), count, embeddings.shape[-1])
        for number, shown in zip(new, near, strict=True):
            views[number].shown.append(shown)
        return embeddings[: len(views)]
