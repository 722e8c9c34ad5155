"""Parameters of Zero-1-to-G's first generation; flags of the README keep their names (docs/systems/zero_1_to_g_grid.md)."""

from typing import Literal, Self, TypeAlias

from pydantic import Field, model_validator

from stage.parameters import Parameters
from systems.zero123.parameters import AutoencoderParameters, ImageEncoderParameters, UNetParameters

ScaleActivation: TypeAlias = Literal["biased_softplus", "softplus", "biased_exp"]
"""How scales are made of their channels (`activations.SplatterActivations`)."""
InterpolateMode: TypeAlias = Literal["last_layer", "interpolate_upsample", "interpolate_downsample"]
"""Where the decoder comes to the splatter's size (`splatter_decoder.SplatterDecoder`)."""


class SplatterDecoderParameters(Parameters):
    """The decoder from a grid's code to splatter images."""

    block_channels: tuple[int, ...] = (32, 64, 64)
    """Channels of each resolution of a new decoder, the finest first; published: the autoencoder's, (128, 256, 512, 512)."""
    layers_per_block: int = Field(default=1, ge=1)
    """Residual blocks per resolution of a new decoder, less one; published: 2."""
    norm_groups: int = Field(default=8, ge=1)
    """Groups of the group normalisation of a new decoder; published: 32."""
    splatter_size: int | None = Field(default=32, ge=1)
    """Side of a view's splatter image, pixels; null leaves the pictures' size. Published: 128, `--decode_splatter_to_128`."""
    decoder_upblocks_interpolate_mode: InterpolateMode = "last_layer"
    """After which block the decoder goes to that size by nearest neighbours."""
    scale_act: ScaleActivation = "biased_softplus"
    """How scales are made."""
    scale_act_bias: float = -3.0
    """Added to the scale's channels; where it begins when it is trained."""
    scale_bias_learnable: bool = True
    """Whether the bias is trained."""
    scale_clamp_min: float = -10.0
    """Natural logarithm of the least scale, world units."""
    scale_clamp_max: float = -2.0
    """Natural logarithm of the greatest."""


class AttributeWeights(Parameters):
    """What a squared error of each attribute counts in the splatter loss (`gs_weighted_mse_loss`)."""

    position: float = Field(default=1.0, ge=0)
    """World units."""
    opacity: float = Field(default=1e-3, ge=0)
    """In [0, 1]."""
    scale: float = Field(default=1e-3, ge=0)
    """Linear, world units."""
    rotation: float = Field(default=1.0, ge=0)
    """Quaternions."""
    colour: float = Field(default=1.0, ge=0)
    """sRGB."""


class GridLossParameters(Parameters):
    """What the losses of both stages count."""

    lambda_splatter: float = Field(default=1.0, ge=0)
    """Weighted squared error of the splatter images' attributes."""
    lambda_rendering: float = Field(default=1.0, ge=0)
    """Squared errors of rendered colours and of their alpha, added up."""
    lambda_alpha: float = Field(default=0.0, ge=0)
    """Squared error of alpha alone; counts, as published, where `lambda_rendering` is 0."""
    lambda_lpips: float = Field(default=0.0, ge=0)
    """LPIPS of rendered pictures, at most 256 pixels wide; published: 1. Left out, and said so, where it is not installed."""
    lambda_latent: float = Field(default=1.0, ge=0)
    """Squared error of the codes that the denoiser predicts, in stage `unet`; the released script descends nothing else there."""
    attributes: AttributeWeights = AttributeWeights()
    """Weights within `lambda_splatter`."""
    splatter_guidance_interval: int = Field(default=1, ge=1)
    """Every so many epochs the splatter loss counts; always within `splatter_guidance_warmup`."""
    splatter_guidance_warmup: int = Field(default=500, ge=0)
    """Epochs up to which the splatter loss counts always."""
    random_background: bool = True
    """Whether rendered and true pictures are compared on a random colour, as published; on grey otherwise."""


class Zero1ToGGridParameters(Parameters):
    """Modules, data and losses of the two stages."""

    stage: Literal["decoder", "unet"] = "decoder"
    """`decoder` trains the decoder from codes to splatter images; `unet` the denoiser that makes codes, the decoder frozen."""
    pretrained: str | None = None
    """A folder to take every module from: one of ours, or one of Zero123++ (sudo-ai/zero123plus-v1.1); new ones when null."""
    input_size: int = Field(default=32, ge=8)
    """Width and height of each of the six pictures in the grid, pixels; published: 320."""
    condition_size: int = Field(default=32, ge=8)
    """Width and height at which the input picture is encoded, pixels; Zero123++: 512."""
    condition_background: float = Field(default=1.0, ge=0, le=1)
    """Grey that the input picture is put on; published: 0.5. Evaluation and `viewforge sample` show pictures on white."""
    num_input_views: Literal[6] = 6
    """Views in the grid, the numbers 1 to 6 of an object; view 0 is the input."""
    num_views: int = Field(default=10, ge=7)
    """Views of a step beside the input: those of the grid, the rest for supervision. Published: 26, and 20 in stage `unet`."""
    render_input_views: bool = False
    """Whether the six views of the grid supervise renderings too."""
    codes: Literal["encoder", "cache"] = "encoder"
    """Whether codes are encoded in each step, by a sample of the posterior, or once, by its mode, and kept on disk."""
    cache_bytes: int = Field(default=20 * 10**9, ge=0)
    """Bound of the kept codes on disk."""
    mix_diffusion_interval: int | None = Field(default=10, ge=1)
    """Every so many epochs, the first included, stage `decoder` decodes what the denoiser makes of noised codes; null: never."""
    decoder: SplatterDecoderParameters = SplatterDecoderParameters()
    """The decoder."""
    loss: GridLossParameters = GridLossParameters()
    """The losses."""
    unet: UNetParameters = UNetParameters(block_channels=(32, 64))
    """A new denoiser; that of a folder is as the folder says."""
    autoencoder: AutoencoderParameters = AutoencoderParameters(factor=4)
    """A new autoencoder, of which `space_to_depth` alone needs no weights."""
    image_encoder: ImageEncoderParameters = ImageEncoderParameters(train=False)
    """A new CLIP vision encoder."""
    prompt_tokens: int = Field(default=4, ge=1)
    """Tokens of a new denoiser's prompt; CLIP's text encoder: 77."""

    @model_validator(mode="after")
    def _learns_in_every_epoch(self) -> Self:
        loss = self.loss
        always = loss.lambda_rendering + loss.lambda_alpha
        always += loss.lambda_splatter * (loss.splatter_guidance_interval == 1)
        if always + loss.lambda_latent * (self.stage == "unet") == 0:
            raise ValueError(f"the stage {self.stage} descends nothing, or not in every epoch: set another lambda")
        return self

    @property
    def supervision_views(self) -> int:
        """Views beside the input and those of the grid."""
        return self.num_views - self.num_input_views
