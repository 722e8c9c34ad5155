"""Parameters of Zero-1-to-G: its stage of training, modules, diffusion and losses."""

from typing import Annotated, Literal, TypeAlias

from pydantic import Field, ValidationInfo, field_validator

from geometry.attribute_images import ZERO_1_TO_G, ZERO_1_TO_G_LOGIT, AttributeRanges
from stage.parameters import Parameters
from systems.zero123.parameters import Background, ImageEncoderParameters, UNetParameters

TrainingStage: TypeAlias = Literal["autoencoder", "decoder", "attributes", "joint"]
"""What is trained: the whole autoencoder on pictures, where no published one is at hand; its decoder on splatter images; the
denoiser on attributes that know nothing of one another; the denoiser on all of them together."""
_Weight = Annotated[float, Field(ge=0)]


class SplatterAutoencoderParameters(Parameters):
    """Attribute images to latents and back."""

    kind: Literal["space_to_depth", "kl"] = "space_to_depth"
    """`space_to_depth` is a stand-in without weights for tiny images; `kl` is diffusers' AutoencoderKL, from `pretrained` or, in
    the stage `autoencoder`, new."""
    factor: int = Field(default=8, ge=1)
    """Side of a block of `space_to_depth`."""
    scaling_factor: float = Field(default=1.0, gt=0)
    """Latents are multiplied by it; Stable Diffusion's: 0.18215."""
    block_channels: tuple[int, ...] = (32, 64)
    """Channels of each resolution of a new `kl`; Stable Diffusion's: (128, 256, 512, 512)."""
    latent_channels: int = Field(default=4, ge=1)
    """Channels of a new `kl`'s latents; Stable Diffusion's: 4."""
    norm_groups: int = Field(default=8, ge=1)
    """Groups of a new `kl`'s group normalisation; Stable Diffusion's: 32."""
    kl_weight: float = Field(default=1e-6, ge=0)
    """Of the posterior's divergence from a normal one, summed over a picture's latents, against the sum of its squared errors, in
    the stage `autoencoder`; latent diffusion's: 1e-6."""


class ViewLayout(Parameters):
    """The cameras that splatter images are sampled for: where training data came from has to be the same."""

    azimuths_deg: tuple[float, ...] = (30.0, 90.0, 150.0, 210.0, 270.0, 330.0)
    """From the input camera, counter-clockwise seen from above, degrees."""
    elevations_deg: tuple[float, ...] = (30.0, -20.0, 30.0, -20.0, 30.0, -20.0)
    """Over the horizon, degrees."""


class DecoderLossParameters(Parameters):
    """What the decoder's training descends; weights of 0 leave a term out."""

    position: _Weight = 1.0
    """Weight of an attribute's mean squared error between its images, in [−1, 1]."""
    opacity: _Weight = 1.0
    scale: _Weight = 1.0
    rotation: _Weight = 1.0
    colour: _Weight = 1.0
    splatter: _Weight = 1.0
    """Of the mean of these; published: 1."""
    rgb: _Weight = 1.0
    """Mean squared error of rasterised colours, on a background of a random colour; published: 1 to 5."""
    alpha: _Weight = 1.0
    """Mean squared error of rasterised coverage; published: 1 to 5."""
    lpips: _Weight = 0.0
    """LPIPS of rasterised colours, where its network is installed; published: 2 to 5."""
    normal: _Weight = 0.0
    """1 − cosine of rasterised normals to those of the true Gaussians; published, to those of rasterised depth: 0.02 to 0.05."""
    depth: _Weight = 0.0
    """Mean absolute error of rasterised depth to that of the true Gaussians, scene units."""
    geometry_from_step: int = Field(default=0, ge=0)
    """Step from which normal and depth count; published: about 3000."""


class Zero1ToGParameters(Parameters):
    """Zero-1-to-G's modules, diffusion and losses."""

    stage: TrainingStage = "joint"
    """What is trained."""
    pretrained: str | None = None
    """A pipeline folder to take every module from: of an earlier stage, or Stable Diffusion's image variations; modules are made
    new from the values below when null."""
    unet: UNetParameters = UNetParameters()
    """The denoiser."""
    autoencoder: SplatterAutoencoderParameters = SplatterAutoencoderParameters()
    """Attribute images to latents."""
    image_encoder: ImageEncoderParameters = ImageEncoderParameters()
    """CLIP vision encoder."""
    layout: ViewLayout = ViewLayout()
    """The views that are sampled."""
    condition: Literal["first", "any"] = "first"
    """The input of a training sample: its object's view 0, as published, or any view."""
    logit_opacity: bool = False
    """Whether the opacity's images hold logits in [−14, 9], `use_inverse_op`, and not opacities in [0, 1]."""
    cross_view: bool = True
    """Whether the views of an attribute attend to one another."""
    cross_attribute: bool = True
    """Whether the attributes of a view attend to one another, in the stage `joint`."""
    prediction_type: Literal["epsilon", "v_prediction", "sample"] = "v_prediction"
    """What the denoiser predicts."""
    zero_terminal_snr: bool = True
    """Whether the schedule ends in pure noise; published: in the joint stage."""
    timestep_shift: float = Field(default=1.0, gt=0)
    """Above 1, training draws noisy timesteps more often than clean ones; published: 1, all equally often."""
    snr_gamma: float | None = Field(default=5.0, gt=0)
    """γ of the min-SNR weights; null weighs all timesteps alike."""
    synchronised_timesteps: bool = True
    """Whether all attributes of a sample have one timestep in the stage `joint`; its views always have."""
    background: Background = "alpha"
    """How pictures are put on white."""
    dropout: float = Field(default=0.05, ge=0, le=1)
    """Share of samples that lose their whole condition, token and latent together."""
    embedding_factor: float = Field(default=10.0, gt=0)
    """Learning rate of the camera and attribute embedding over the others'."""
    supervision_views: int = Field(default=4, ge=0)
    """Views beside the condition that the decoder's renderings are compared with; the other stages take one, to show."""
    decoder_loss: DecoderLossParameters = DecoderLossParameters()
    """What the stage `decoder` descends."""

    @field_validator("zero_terminal_snr")
    @classmethod
    def _has_a_signal_to_predict(cls, value: bool, info: ValidationInfo) -> bool:
        if value and info.data.get("prediction_type") == "epsilon":
            raise ValueError("from pure noise the prediction type epsilon tells nothing of the image")
        return value

    @property
    def ranges(self) -> AttributeRanges:
        """What attribute images map to [−1, 1]."""
        return ZERO_1_TO_G_LOGIT if self.logit_opacity else ZERO_1_TO_G
