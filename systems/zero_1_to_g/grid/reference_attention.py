"""Zero123++'s reference attention: the denoiser sees the input picture in the keys and values of its own self-attention.

It runs twice: on the latent of the input picture, noised as much as the code is, where each self-attention layer notes its
input; and on the code, where those tokens stand beside the layer's own. Nothing is learnt anew for it.

Source: SUDO-AI-3D/zero123plus `diffusers-support/pipeline.py`, `ReferenceOnlyAttnProc` and `RefOnlyNoisedUNet`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from diffusers import ModelMixin, UNet2DConditionModel
from diffusers.models.attention_processor import Attention
from jaxtyping import Float, Num
from torch import Tensor


@dataclass(frozen=True)
class References:
    """The tokens of a picture by the names of the self-attention layers."""

    reading: bool = False
    """Whether layers read what is noted; they note their own input otherwise."""
    tokens: dict[str, Float[Tensor, "b t d"]] = field(default_factory=dict)

    def beside(self, layer: str, own: Float[Tensor, "b t d"]) -> Float[Tensor, "b u d"]:
        """The keys and values of a layer: its own tokens, and those of the picture where they are read."""
        if self.reading:
            return torch.cat([own, self.tokens[layer]], dim=1)
        # Blocks that are computed again in the backward pass come here a second time, to the same tokens.
        self.tokens.setdefault(layer, own)
        return own


class ReferenceProcessor:
    """An attention processor that widens keys and values, and leaves the attention itself to another one.

    Args:
        inner: diffusers' processor of any backend.
        layer: name of the self-attention layer; None for others, which are left as they are.
    """

    def __init__(self, inner: Callable[..., Tensor], layer: str | None) -> None:
        self.inner, self.layer = inner, layer

    def __call__(
        self,
        attn: Attention,
        hidden_states: Float[Tensor, "b t d"],
        encoder_hidden_states: Float[Tensor, "b u e"] | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
        references: References | None = None,
    ) -> Tensor:
        """The attention's output; see diffusers."""
        if references is not None and self.layer is not None:
            encoder_hidden_states = references.beside(self.layer, hidden_states)
        return self.inner(attn, hidden_states, encoder_hidden_states, attention_mask, temb)


class ReferenceUNet(UNet2DConditionModel, ModelMixin):
    """diffusers' UNet with reference attention; it reads and writes the files of its parent."""

    # Pipelines load a class by the base that its module imports, hence `ModelMixin` here.

    def forward(
        self,
        sample: Float[Tensor, "b c y x"],
        timestep: Num[Tensor, "*b"],
        encoder_hidden_states: Float[Tensor, "b t d"],
        reference: Float[Tensor, "b c v u"] | None = None,
        **options: Any,  # noqa: ANN401 - the parent's
    ) -> Any:  # noqa: ANN401 - likewise
        """The prediction, as the parent's.

        Args:
            sample: noised codes.
            timestep: of both.
            encoder_hidden_states: cross-attention tokens, of both.
            reference: noised latents of the input pictures, of any size; None does without.
            **options: the parent's.
        """
        if reference is None:
            return super().forward(sample, timestep, encoder_hidden_states, **options)
        self._wrap_processors()
        noted = References()
        self._run(reference, timestep, encoder_hidden_states, noted)
        return self._run(sample, timestep, encoder_hidden_states, replace(noted, reading=True), **options)

    def _run(
        self,
        sample: Tensor,
        timestep: Tensor,
        tokens: Tensor,
        references: References,
        **options: Any,  # noqa: ANN401 - the parent's
    ) -> Any:  # noqa: ANN401 - likewise
        chosen = {**options, "cross_attention_kwargs": {"references": references}}
        return super().forward(sample, timestep, tokens, **chosen)

    def _wrap_processors(self) -> None:
        """Put our processor around whatever backend was chosen since the last call."""
        for name, module in self.named_modules():
            if isinstance(module, Attention) and not isinstance(module.processor, ReferenceProcessor):
                layer = None if module.is_cross_attention else name
                module.set_processor(ReferenceProcessor(module.processor, layer))
