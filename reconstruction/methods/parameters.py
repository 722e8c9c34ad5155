"""Parameters of SJC, SDS and anchored SDS. Defaults are the published ones; steps are counted as shares of the run.

| method       | published for                              | steps | source                                                   |
| ------------ | ------------------------------------------ | ----- | -------------------------------------------------------- |
| sjc          | Zero-1-to-3                                | 10000 | cvlab-columbia/zero123 `3drec/run_zero123.py`             |
| sds          | Zero-1-to-3 in threestudio                 | 600   | threestudio-project/threestudio `configs/zero123.yaml`    |
| anchored-sds | ZeroNVS                                    | 4000  | kylesargent/ZeroNVS `configs/zero123_scene.yaml`, paper   |
"""

from typing import Literal

from pydantic import Field

from reconstruction.fields.field import HALF_SIDE
from reconstruction.methods.camera_sampling import CubeCameras, SphereCameras
from reconstruction.methods.field_losses import SJC_BACKGROUND_DEPTH
from reconstruction.methods.timestep_schedules import (
    SJC_SKIPPED_CLEANEST,
    SJC_SKIPPED_NOISIEST,
    THREESTUDIO_ANNEALING,
    ZERONVS_ANNEALING,
    ZERONVS_LAG,
    Annealing,
)
from reconstruction.methods.weight_schedules import Ramp
from stage.parameters import Parameters

PUBLISHED_STEPS = {"sjc": 10_000, "sds": 600, "anchored-sds": 4000, "neus": 2000}
"""Steps of a run, by method; those of NeuS are ViewFusion's (`my_train_renderer_spin36.py`)."""


class SjcParameters(Parameters):
    """Score Jacobian chaining on a field of latents."""

    learning_rate: float = Field(default=0.05, gt=0.0)
    """Adamax's."""
    guidance_scale: float = Field(default=100.0, ge=1.0)
    """Classifier-free guidance."""
    variance_reduction: bool = True
    """Ascend (D − x)/σ, not (D − z)/σ."""
    skipped_noisiest: int = Field(default=SJC_SKIPPED_NOISIEST, ge=0)
    """Timesteps at the noisy end that are never drawn."""
    skipped_cleanest: int = Field(default=SJC_SKIPPED_CLEANEST, ge=0)
    """Timesteps at the clean end that are never drawn."""
    input_distance: float | None = Field(default=2.0, gt=0.0)
    """Distance from the origin that the input's camera is brought to: the field's world is scaled so, and meshes are scaled back.
    Null leaves it where it is."""
    resolution: int = Field(default=100, ge=4, le=512)
    """Vertices of the voxel field along each axis."""
    half_side: float = Field(default=1.0, gt=0.0)
    """Of the field's box, world units."""
    density_shift: float = -1.0
    """Added to the values of the density."""
    samples: int = Field(default=256, ge=2)
    """Pieces of each ray. Published are steps of half a voxel, at most 347 in a cube of 100."""
    cameras: CubeCameras = CubeCameras()
    score_weight: float = Field(default=1.0, ge=0.0)
    """Of the gradient."""
    input_weight: float = Field(default=10_000.0, ge=0.0)
    """Of the input view's squared error in [−1, 1], decoded."""
    near_view_weight: float = Field(default=10_000.0, ge=0.0)
    """Of the agreement with a view beside; the README's run, and 1e5 in the code."""
    depth_smoothness_weight: float = Field(default=10_000.0, ge=0.0)
    """Of smooth depth; the README's run, and 1e5 in the code."""
    input_smoothness_share: float = Field(default=0.1, ge=0.0)
    """Of that weight, on the input view, from the first step."""
    smooth_from: float = Field(default=0.5, ge=0.0, le=1.0)
    """Share of the run from which the whole weight is on the drawn view."""
    emptiness_weight: float = Field(default=0.0, ge=0.0)
    """Of emptiness; published 0."""
    emptiness_multiplier: float = Field(default=20.0, ge=0.0)
    """How many times that weight is added until the end."""
    background_depth: float = Field(default=SJC_BACKGROUND_DEPTH, gt=0.0)
    """Depth of what is behind the field, world units."""


class Phase(Parameters):
    """Sizes of pictures for a while."""

    begin: float = Field(default=0.0, ge=0.0, le=1.0)
    """From which share of the run."""
    size: int = Field(default=64, ge=2)
    """Width and height of drawn views, pixels."""
    batch: int = Field(default=12, ge=1)
    """Drawn views of a step."""
    input_size: int = Field(default=128, ge=2)
    """Width and height of the input view, pixels."""


class SdsParameters(Parameters):
    """Score distillation sampling on a field of colours."""

    learning_rate: float = Field(default=0.01, gt=0.0)
    """Adam's, with betas 0.9 and 0.99."""
    guidance_scale: float = Field(default=3.0, ge=1.0)
    """Classifier-free guidance."""
    annealing: Annealing = THREESTUDIO_ANNEALING
    """The range of timesteps."""
    phases: tuple[Phase, ...] = Field(
        default=(
            Phase(),
            Phase(begin=1 / 3, size=128, batch=4, input_size=256),
            Phase(begin=1 / 2, size=256, batch=2, input_size=512),
        ),
        min_length=1,
    )
    """Pictures grow while the run goes on; in ascending order, the first from 0."""
    field: Literal["implicit", "voxel"] = "implicit"
    """What learns: a network on grids of rising resolution, as published, or a grid of voxels."""
    half_side: float = Field(default=HALF_SIDE, gt=0.0)
    """Of the field's box, world units; published: 2 about cameras at 3.8 (threestudio), 2 about one at 1 (ZeroNVS)."""
    levels: int = Field(default=16, ge=1)
    """Grids of the network's encoding, the coarsest of 16 cells along an axis."""
    finest: int = Field(default=4096, ge=16)
    """Cells along an axis of its finest."""
    table: int = Field(default=1 << 19, ge=1)
    """Vertices that each of them keeps."""
    width: int = Field(default=64, ge=1)
    """Of the network's hidden layer."""
    resolution: int = Field(default=100, ge=4, le=512)
    """Vertices of a voxel field along each axis."""
    density_shift: float = -1.0
    """Added to the values of a voxel field's density."""
    occupancy: int = Field(default=32, ge=0, le=512)
    """Cells along a side of the grid that tells which pieces are empty; 0 asks the field everywhere."""
    samples: int = Field(default=256, ge=2)
    """Pieces of each ray; published: 512."""
    cameras: SphereCameras = SphereCameras()
    background: Literal["white", "random"] = "white"
    """What is behind the field: white as in the input, or one colour a step."""
    sds_weight: float = Field(default=0.1, ge=0.0)
    """Of the gradient."""
    input_weight: float = Field(default=500.0, ge=0.0)
    """Of the input view's squared error in [0, 1]."""
    mask_weight: float = Field(default=50.0, ge=0.0)
    """Of the squared error of its opacity."""
    normal_smoothness_weight: float = Field(default=8.0, ge=0.0)
    """Of normals that change little between pixels."""
    surface_smoothness_weight: float = Field(default=8.0, ge=0.0)
    """Of normals that change little in space."""
    orientation_weight: float = Field(default=1.0, ge=0.0)
    """Of normals that look at the camera."""
    sparsity_weight: float = Field(default=0.1, ge=0.0)
    """Of little opacity, in drawn views."""
    opaqueness_weight: float = Field(default=0.1, ge=0.0)
    """Of opacities of 0 or 1."""


class AnchoredSdsParameters(SdsParameters):
    """SDS with ZeroNVS's anchors."""

    learning_rate: float = Field(default=0.005, gt=0.0)
    """Adam's, with betas 0.9 and 0.99."""
    guidance_scale: float = Field(default=7.5, ge=1.0)
    """Classifier-free guidance of views that the input is nearest to; 9.5 in the launch scripts."""
    anchor_guidance_scale: float = Field(default=7.5, ge=1.0)
    """Of views that an anchor is nearest to."""
    width: int = Field(default=32, ge=1)
    """Of the network's hidden layer."""
    annealing: Annealing = ZERONVS_ANNEALING
    """The range of timesteps."""
    lag: float = Field(default=ZERONVS_LAG, ge=0.0, le=1.0)
    """How far timesteps of the side opposite to the input are behind, as a share of the run; 0 is the same for all."""
    phases: tuple[Phase, ...] = Field(
        default=(Phase(size=128, batch=6, input_size=128), Phase(begin=0.5, size=256, batch=1, input_size=256)),
        min_length=1,
    )
    """Pictures grow while the run goes on; in ascending order, the first from 0."""
    cameras: SphereCameras = SphereCameras(radius_offset=(-0.2, 0.8), elevation_deg=(5.0, 80.0), widening=0.25)
    """Published: distances 0.8 to 1.8 about an input at 1, ranges that open until step 1000."""
    background: Literal["white", "random"] = "random"
    """What is behind the field; published is a colour drawn in every step, for scenes have none."""
    input_weight: float = Field(default=1500.0, ge=0.0)
    """Of the input view's squared error in [0, 1]."""
    mask_weight: float = Field(default=0.0, ge=0.0)
    """Of the squared error of its opacity; scenes have no mask."""
    surface_smoothness_weight: float = Field(default=0.0, ge=0.0)
    """Of normals that change little in space."""
    orientation_weight: float = Field(default=5.0, ge=0.0)
    """Of normals that look at the camera."""
    sparsity_weight: float = Field(default=0.0, ge=0.0)
    """Of little opacity, in drawn views."""
    opaqueness_weight: float = Field(default=0.0, ge=0.0)
    """Of opacities of 0 or 1."""
    anchors: int = Field(default=2, ge=0)
    """Views that are sampled once, at azimuths that part the circle evenly with the input's; the paper's 120° and 240°."""
    anchor_steps: int = Field(default=500, ge=1)
    """Sampling steps of an anchor."""
    anchor_sampling_scale: float = Field(default=3.0, ge=1.0)
    """Classifier-free guidance of that sampling."""
    anchor_probability: Ramp = Ramp(start=1.0, end=0.0, last=0.5)
    """That a drawn view is conditioned on the nearest of input and anchors, and not on the input; from 1 to 0 until step 2000 of
    4000 in the configuration, 0.5 in the paper."""
    depth_gate: float = Field(default=0.0, ge=0.0)
    """Pixels nearer than this, world units, take no gradient from views that an anchor is nearest to; 0 lets all pass. 0 in the
    configuration, 1 in the paper."""
