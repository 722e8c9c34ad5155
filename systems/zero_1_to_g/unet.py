"""The denoiser of Zero-1-to-G's attribute images: Stable Diffusion's UNet, whose images attend to each other.

`AttributeUNet` takes all images of a sample as a grid, views by attributes: six by five in the joint stage, six by one where each
attribute is denoised by itself. It is saved and loaded as every diffusers model; the flags are part of its configuration.
"""

from typing import Any

import torch
from diffusers import ModelMixin, UNet2DConditionModel  # noqa: F401 - diffusers looks for ModelMixin beside a class to load it
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionOutput
from jaxtyping import Float, Num
from torch import Tensor, nn

from systems.zero_1_to_g.attention import Grid, TransformerBlock
from systems.zero_1_to_g.camera_embedding import EMBEDDING_DIMENSIONS

_CLASS_EMBEDDING = {"class_embed_type": "projection", "projection_class_embeddings_input_dim": EMBEDDING_DIMENSIONS}


class AttributeUNet(UNet2DConditionModel):
    """diffusers' conditional UNet with attention across views and attributes and an embedding of camera and attribute.

    Args:
        cross_view: whether self-attention takes keys and values from all views of an attribute.
        cross_attribute: whether attention across the attributes of a view stands between self- and cross-attention.
        options: of `UNet2DConditionModel`, but for the class embedding, a projection of `attribute_camera_embedding`.

    Raises:
        ValueError: for options of another kind of transformer block than Stable Diffusion's.
    """

    _no_split_modules = ("TransformerBlock", "ResnetBlock2D", "CrossAttnUpBlock2D", "UpBlock2D")
    _repeated_blocks = ("TransformerBlock",)

    def __init__(self, cross_view: bool = True, cross_attribute: bool = True, **options: Any) -> None:  # noqa: ANN401 - diffusers' own
        super().__init__(**(options | _CLASS_EMBEDDING))
        self.register_to_config(cross_view=cross_view, cross_attribute=cross_attribute)
        for transformer in self.modules():
            if isinstance(transformer, Transformer2DModel):
                blocks = (
                    TransformerBlock(block, cross_view, cross_attribute) for block in transformer.transformer_blocks
                )
                transformer.transformer_blocks = nn.ModuleList(blocks)

    @staticmethod
    def _get_init_keys(input_class: type) -> set[str]:
        """What a configuration may hold; diffusers reads it from signatures, and this class's names the flags alone."""
        keys: set[str] = UNet2DConditionModel._get_init_keys(input_class)
        inherited = UNet2DConditionModel._get_init_keys(UNet2DConditionModel)
        return (keys - {"options"}) | inherited if issubclass(input_class, AttributeUNet) else keys

    def forward(
        self,
        sample: Float[Tensor, "b v a c y x"],
        timestep: Num[Tensor, "..."] | int,
        encoder_hidden_states: Float[Tensor, "b s d"],
        class_labels: Float[Tensor, "b v a 16"],
    ) -> UNet2DConditionOutput:
        """Denoise all images of the samples together.

        Args:
            sample: noisy latents joined with the condition latent, channels 2c.
            timestep: of the diffusion: one for all, one a sample, or such that it broadcasts to (b, v, a).
            encoder_hidden_states: context of each sample: its CLIP token.
            class_labels: `camera_embedding` of each image.

        Returns:
            `.sample`, (b, v, a, c', y, x), of the scheduler's prediction type.
        """
        batch, views, attributes = sample.shape[:3]
        images = views * attributes
        output = super().forward(
            sample.flatten(0, 2),
            _each(timestep, sample).flatten(),
            encoder_hidden_states.repeat_interleave(images, dim=0),
            class_labels=class_labels.flatten(0, 2).to(sample.dtype),
            cross_attention_kwargs=Grid(views=views, attributes=attributes),
            return_dict=False,
        )[0]
        return UNet2DConditionOutput(sample=output.unflatten(0, (batch, views, attributes)))

    def add_cross_attribute(self) -> None:
        """Add attention across attributes that changes nothing until it is trained; nothing happens where it is there."""
        if self.config.cross_attribute:
            return
        for block in self.modules():
            if isinstance(block, TransformerBlock):
                block.add_cross_attribute()
        self.register_to_config(cross_attribute=True)


def _each(timestep: Num[Tensor, "..."] | int, sample: Float[Tensor, "b v a c y x"]) -> Num[Tensor, "b v a"]:
    """The timestep of each image."""
    timesteps = torch.as_tensor(timestep, device=sample.device)
    return timesteps.reshape(*timesteps.shape, *(1,) * (3 - timesteps.ndim)).expand(sample.shape[:3])
