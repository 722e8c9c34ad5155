"""The decoder from the code of six views to their splatter images: a VAE's, with eleven more channels beside its colours.

Source: mengxuyiGit/LGM, branch `zero123plus_v2_autodecoder`, `core/models_zero123plus_code.py`, `UNetDecoder`, `decode_latents`.
"""

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name
from diffusers import AutoencoderKL, ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.models.attention import AttentionMixin
from diffusers.models.autoencoders.vae import Decoder
from jaxtyping import Float
from torch import Tensor, nn

from stage.errors import InputError
from systems.zero_1_to_g.grid.activations import RAW_CHANNELS, SplatterActivations
from systems.zero_1_to_g.grid.layout import COLUMNS, ROWS, unscaled_image, unscaled_latents, views_of
from systems.zero_1_to_g.grid.parameters import InterpolateMode, ScaleActivation

_COLOURS = 3
# The block whose upsampling gives way to the resize; the last block has none, and is resized after it.
_RESIZED_BLOCK: dict[InterpolateMode, int] = {"last_layer": -1, "interpolate_upsample": 1, "interpolate_downsample": 2}


class SplatterDecoder(ModelMixin, AttentionMixin, ConfigMixin):
    """Six splatter images from a code, as the denoiser has codes.

    The features of one block are brought to 3·s × 2·s pixels by nearest neighbours, whatever size the code has; s is
    `splatter_size`. With `last_layer` these are the features after the last block: at 320 pixels a view, 960×640 become 384×256.
    Blocks after it upsample no more.

    Args:
        latent_channels: of a code.
        block_out_channels: of each resolution, as the autoencoder's config has them.
        layers_per_block: as there.
        norm_num_groups: as there.
        use_post_quant_conv: whether a 1×1 convolution comes first, as in Stable Diffusion's autoencoder; it is never trained.
        scaling_factor: of the autoencoder.
        splatter_size: side of a splatter image, pixels; the decoder's own size when None.
        decoder_upblocks_interpolate_mode: the block that is resized: the last, or the second or third from the code.
        scale_act: see `SplatterActivations`, as all that follow.
        scale_act_bias: likewise.
        scale_bias_learnable: likewise.
        scale_clamp_min: likewise.
        scale_clamp_max: likewise.
    """

    _supports_gradient_checkpointing = True

    @register_to_config
    def __init__(
        self,
        latent_channels: int = 4,
        block_out_channels: tuple[int, ...] = (128, 256, 512, 512),
        layers_per_block: int = 2,
        norm_num_groups: int = 32,
        use_post_quant_conv: bool = True,
        scaling_factor: float = 0.18215,  # noqa: ARG002 - read from config
        splatter_size: int | None = 128,
        decoder_upblocks_interpolate_mode: InterpolateMode = "last_layer",
        scale_act: ScaleActivation = "biased_softplus",
        scale_act_bias: float = -3.0,
        scale_bias_learnable: bool = True,
        scale_clamp_min: float = -10.0,
        scale_clamp_max: float = -2.0,
    ) -> None:
        super().__init__()
        self.post_quant_conv = nn.Conv2d(latent_channels, latent_channels, 1) if use_post_quant_conv else nn.Identity()
        self.decoder = Decoder(
            in_channels=latent_channels,
            out_channels=_COLOURS,
            up_block_types=("UpDecoderBlock2D",) * len(block_out_channels),
            block_out_channels=block_out_channels,
            layers_per_block=layers_per_block,
            norm_num_groups=norm_num_groups,
        )
        self.others = nn.Conv2d(block_out_channels[0], RAW_CHANNELS - _COLOURS, 3, padding=1)
        self.activations = SplatterActivations(
            scale_act, scale_act_bias, scale_bias_learnable, scale_clamp_min, scale_clamp_max
        )
        self._resized = _resized_block(decoder_upblocks_interpolate_mode, len(block_out_channels))
        if splatter_size is not None:
            for block in self.decoder.up_blocks[self._resized :]:
                block.upsamplers = None

    @classmethod
    def from_vae(cls, vae: AutoencoderKL, **options: Any) -> "SplatterDecoder":  # noqa: ANN401 - those of the class
        """A decoder that begins with an autoencoder's weights; the eleven other channels are drawn at random.

        Args:
            vae: diffusers' own, of `UpDecoderBlock2D` alone.
            **options: of the class, beside what follows from the autoencoder.
        """
        names = ("latent_channels", "block_out_channels", "layers_per_block", "norm_num_groups", "scaling_factor")
        made = cls(
            **{name: vae.config[name] for name in names},
            use_post_quant_conv=vae.post_quant_conv is not None,
            **options,
        )
        if vae.post_quant_conv is not None:
            made.post_quant_conv.load_state_dict(vae.post_quant_conv.state_dict())
        # Upsamplers that the resize replaces are left out.
        taken = made.decoder.state_dict().keys()
        made.decoder.load_state_dict(
            {name: value for name, value in vae.decoder.state_dict().items() if name in taken}
        )
        return made

    def forward(self, codes: Float[Tensor, "b c y x"]) -> Float[Tensor, "b 6 14 h w"]:
        """Splatter images of codes, in the order of `geometry.splatter_tensor.CHANNELS` and in their ranges.

        All 14 channels, not the colours alone, are unscaled as pictures are before they are activated.
        """
        latents = unscaled_latents(codes) / self.config.scaling_factor
        return views_of(self.activations(unscaled_image(self.raw(latents))))

    def raw(self, latents: Float[Tensor, "b c y x"]) -> Float[Tensor, "b 14 gh gw"]:
        """The channels before their activations, of the autoencoder's own latents."""
        features = self._features(self.post_quant_conv(latents))
        features = self.decoder.conv_act(self.decoder.conv_norm_out(features))
        return torch.cat([self.others(features), self.decoder.conv_out(features)], dim=1)

    def trained(self) -> list[nn.Parameter]:
        """What stage `decoder` trains: all but the first convolution, and the bias of the scales where it is to be learnt."""
        fixed = {id(parameter) for parameter in self.post_quant_conv.parameters()}
        if not self.config.scale_bias_learnable:
            fixed.add(id(self.activations.scale_bias))
        return [parameter for parameter in self.parameters() if id(parameter) not in fixed]

    def _features(self, latents: Float[Tensor, "b c y x"]) -> Float[Tensor, "b f gh gw"]:
        features = self._run(self.decoder.mid_block, self.decoder.conv_in(latents))
        for number, block in enumerate(self.decoder.up_blocks):
            features = self._run(block, features)
            side = self.config.splatter_size
            if side is not None and number == self._resized:
                features = F.interpolate(features, size=(ROWS * side, COLUMNS * side), mode="nearest")
        return features

    def _run(self, block: nn.Module, features: Tensor) -> Tensor:
        if self.decoder.gradient_checkpointing and torch.is_grad_enabled():
            return self.decoder._gradient_checkpointing_func(block, features)
        return block(features)


def _resized_block(mode: InterpolateMode, blocks: int) -> int:
    number = _RESIZED_BLOCK[mode] % blocks if mode == "last_layer" else _RESIZED_BLOCK[mode]
    if number >= blocks:
        raise InputError(
            f"decoder_upblocks_interpolate_mode {mode} needs {number + 1} blocks, and the decoder has {blocks}",
            "take last_layer",
        )
    return number
