"""What Refiner-0123 is conditioned on: a token of the input view and one of each prompt, all through one `cc_projection`.

    c = [ P(CLIP(source), T), P(CLIP(coarse), 0), P(CLIP(near_1), T_1), …, P(CLIP(near_k), T_k) ]

P is Zero-1-to-3's linear layer of 772 to 768 numbers, T the target's pose relative to the source and T_i that relative to the
near view i. Source: AbrahamYabo/Cascade-Zero123 `train_cascade0123.py` and `dataset.py`.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import CLIPVisionModelWithProjection

from systems.cascade_zero123.prompts import Prompts
from systems.zero123.conditioning import POSE_DIMENSIONS, CCProjection
from systems.zero123.encoding import embed_images


@dataclass(frozen=True)
class PromptEmbeddings:
    """The prompts as CLIP sees them."""

    coarse: Float[Tensor, "b d"]
    near: Float[Tensor, "b k d"]
    near_poses: Float[Tensor, "b k 4"]
    """T of the target relative to each near view."""

    def keeping_target(self, factors: Float[Tensor, " b"]) -> "PromptEmbeddings":
        """The same with the coarse target's embedding kept (1) or dropped (0); near views are never dropped."""
        return replace(self, coarse=self.coarse * factors[:, None])

    def __getitem__(self, rows: Int[Tensor, " n"]) -> "PromptEmbeddings":
        """The prompts of some rows, each as often as it is named."""
        return PromptEmbeddings(self.coarse[rows], self.near[rows], self.near_poses[rows])


def embed_prompts(encoder: CLIPVisionModelWithProjection, prompts: Prompts) -> PromptEmbeddings:
    """The embeddings of prompt pictures in [−1, 1]."""
    near = embed_images(encoder, prompts.near.flatten(0, 1)).unflatten(0, prompts.near.shape[:2])
    return PromptEmbeddings(embed_images(encoder, prompts.coarse), near, prompts.near_poses)


def prompt_tokens(projection: CCProjection, prompts: PromptEmbeddings) -> Float[Tensor, "b t d"]:
    """The tokens of the coarse target and of the k near views, in this order: t = 1 + k.

    The coarse target's pose is four zeros, as released. It differs from that of a view relative to itself, [0, 0, 1, 0]: sine and
    cosine are 0 together for no view, so it marks the coarse target among the tokens.
    """
    batch, count = prompts.near.shape[:2]
    coarse = projection(prompts.coarse, prompts.coarse.new_zeros(batch, POSE_DIMENSIONS))
    near = projection(prompts.near.flatten(0, 1), prompts.near_poses.flatten(0, 1))
    return torch.cat([coarse, near[:, 0].unflatten(0, (batch, count))], dim=1)


def asked_poses(offsets: Float[Tensor, "*k 3"]) -> Float[Tensor, "*k 4"]:
    """T of near views relative to the source: [Δθ, sin Δφ, cos Δφ, Δr] of their offsets (Δθ, Δφ, Δr)."""
    polar, azimuth, radius = offsets.unbind(-1)
    return torch.stack([polar, azimuth.sin(), azimuth.cos(), radius], dim=-1)


def near_poses(pose: Float[Tensor, "*b 4"], offsets: Float[Tensor, "*b k 3"]) -> Float[Tensor, "*b k 4"]:
    """T_i = [θt − θi, sin(φt − φi), cos(φt − φi), rt − ri] of the target relative to each near view.

    A near view lies at the source's position plus its offset, so with T = [δθ, sin δφ, cos δφ, δr] of the target relative to the
    source T_i = [δθ − Δθ, sin(δφ − Δφ), cos(δφ − Δφ), δr − Δr] (`dataset.py` `get_delta_T`).

    Args:
        pose: T.
        offsets: (Δθ, Δφ, Δr) of each near view, radians and object sizes.
    """
    polar, azimuth, radius = offsets.unbind(-1)
    sine, cosine = pose[..., 1:2], pose[..., 2:3]
    turned = (
        sine * azimuth.cos() - cosine * azimuth.sin(),
        cosine * azimuth.cos() + sine * azimuth.sin(),
    )
    return torch.stack([pose[..., 0:1] - polar, *turned, pose[..., 3:4] - radius], dim=-1)
