"""Parameters of the `evaluate` stage: which objects, which views, how the model is sampled."""

from typing import Any, Literal

from pydantic import Field, PositiveFloat, ValidationInfo, field_validator, model_validator

from blender_render.parameters import QualityParameters
from evaluation.metrics.parameters import MetricParameters
from evaluation.protocol_presets import PRESETS
from reconstruction.optimisation.section import ReconstructSection
from reconstruction.parameters import FusionParameters
from stage.executor import ExecutorParameters
from stage.parameters import Parameters, merged
from systems.viewfusion.parameters import ViewFusionParameters
from systems.zero123.parameters import NullCondition, SchedulerName

PresetName = Literal[
    "zero123",
    "syncdreamer",
    "viewfusion",
    "viewfusion_36",
    "viewfusion_16",
    "zero_1_to_g",
    "zeronvs_dtu",
    "zeronvs_mip_nerf_360",
]


class GeometryParameters(Parameters):
    """Figures about meshes, for models that make Gaussians (docs/evaluation-geometry.md)."""

    samples: int = Field(default=100_000, ge=100)
    """Points on each surface. Two samples of one surface are √(area / samples) / 2 apart: with these about 0.003."""
    thresholds: tuple[PositiveFloat, ...] = (0.01, 0.02, 0.05)
    """Of the F-scores, in longest sides of the asset."""
    grid: int = Field(default=64, ge=8, le=256)
    """Cells along a side of the grid for the IoU. Published: 64."""
    points: int = Field(default=100_000, ge=100)
    """Points for the IoU that does not depend on a grid."""
    fusion: FusionParameters = FusionParameters()
    """How Gaussians become a mesh."""


class ReconstructionParameters(ReconstructSection):
    """Reconstructions of the evaluated objects by optimisation, and figures about their meshes (docs/evaluation-geometry.md).

    Beside what follows the keys are those of the section `reconstruct`, whose device, texture and tracking do not count here.
    """

    views: Literal["model", "truth"] = "model"
    """What neus is fitted to: the input view and the model's answers for the others, or the true views, which tells what the
    method alone comes to. Methods on a prior are shown the input view."""
    subsets: tuple[Literal["unseen", "training"], ...] = Field(default=("unseen",), min_length=1)
    """Whose objects."""
    max_objects: int | None = Field(default=None, ge=1)
    """Only the first so many of a subset in order of uid; all when null."""
    figures: GeometryParameters = GeometryParameters()
    """As `geometry`; `fusion` does not count."""


class EvaluateParameters(Parameters):
    """One evaluation."""

    preset: PresetName | None = None
    """A published protocol (docs/evaluation-protocols.md): values for what follows up to `score_input`, and for `quality`,
    each of which may still be given by itself; null takes the defaults."""
    source: Literal["heldout", "gso", "dtu", "mip_nerf_360"] = "heldout"
    """Objects that the model has not seen: `heldout` takes the catalogue's splits val and test, the others a folder."""
    path: str = "inputs/gso"
    """Folder of Google Scanned Objects, or of the scenes of DTU or Mip-NeRF 360, absolute or relative to the workspace."""
    objects: tuple[str, ...] | str | None = None
    """Names (titles or uids) of the unseen objects, or a file with a name a line; all of the source when null."""
    protocol: str = "syncdreamer"
    """Camera protocol, a name in `blender_render.protocols`; its first view is the input, the others are targets."""
    views: int = Field(default=16, ge=2)
    """Views per object, the input view among them. A scene has the views of its split, or fewer: see `scene_targets`."""
    resolution: int | None = Field(default=None, ge=8)
    """Width and height of the pictures, pixels; those of the training shards when null."""
    max_objects: int | None = Field(default=None, ge=1)
    """Only the first so many unseen objects in order of uid; all when null."""
    score_input: bool = False
    """Whether the input view is a target as well, as in SyncDreamer's evaluation: a model may copy it."""
    scene_targets: int | None = Field(default=None, ge=1)
    """Only so many targets of each scene of DTU or Mip-NeRF 360, spread evenly; all when null."""
    training_objects: int = Field(default=8, ge=1)
    """Training objects that are scored too, the first in order of uid, to tell memory from generalisation."""
    inference_steps: int = Field(default=20, ge=1)
    """Sampling steps per picture; published: 50 to 75."""
    scheduler: SchedulerName | None = None
    """How the sampler steps (`systems.zero123.schedulers`); as the model was saved when null. Published: ddim."""
    guidance_scale: float = Field(default=1.0, ge=0)
    """Classifier-free guidance; 1 does without. Published: 3."""
    eta: float = Field(default=0.0, ge=0, le=1)
    """DDIM's share of fresh noise; 0 is deterministic after the first noise. Published: 1."""
    drop_first_step: bool = False
    """DDIM without its noisiest timestep, as published: 50 steps are 49 calls of the model, 75 are 76."""
    null_condition: NullCondition = "after_projection"
    """What guidance leads away from: a zero token, as published, or the token that training drops to."""
    scale: float | None = Field(default=None, gt=0)
    """What ZeroNVS divides translations by, scene units, of every object; measured as its mode says when null
    (`evaluation.scales`). `7dof_metric_scale` needs it; other systems know of none."""
    batch_size: int = Field(default=32, ge=1)
    """Pictures sampled at once."""
    objects_per_batch: int = Field(default=1, ge=1)
    """Objects whose views share batches, in order of uid. With 1 no object's result depends on others; with more a GPU has enough
    to do, and the last bits depend on an object's neighbours, not on what was sampled before."""
    view_fusion: ViewFusionParameters | None = None
    """Make an object's views one after another, each from those before it (docs/systems/viewfusion.md); singly when null."""
    quality: QualityParameters = QualityParameters()
    """Samples, denoising, device and light of the rendered views."""
    metrics: MetricParameters = MetricParameters()
    """Figures about pictures."""
    geometry: GeometryParameters | None = None
    """Figures about the meshes of a model that makes Gaussians, beside those about pictures; none when null."""
    reconstruct: ReconstructionParameters | None = None
    """Reconstruct the objects by optimisation and compare the meshes; takes minutes to hours an object. None when null."""
    gallery_objects: int = Field(default=6, ge=1)
    """Objects shown in each gallery of the report, the first in order of uid."""
    max_failure_rate: float = Field(default=0.5, ge=0, le=1)
    """Share of a subset's objects that may fail to be rendered or sampled before the stage does."""
    executor: ExecutorParameters = ExecutorParameters()
    """Worker processes that render."""

    @field_validator("source")
    @classmethod
    def _of_the_preset(cls, source: str, info: ValidationInfo) -> str:
        # A preset's name would stand beside figures that it is not about.
        preset = PRESETS.get(str(info.data.get("preset")))
        if preset and source != preset.values["source"]:
            raise ValueError(
                f"the preset {preset.name} is of the source {preset.values['source']}; set that, or preset to null and "
                "protocol to its cameras"
            )
        return source

    @model_validator(mode="before")
    @classmethod
    def _fill_in_preset(cls, values: Any) -> Any:  # noqa: ANN401 - any YAML value
        if not isinstance(values, dict) or not isinstance(values.get("preset"), str):
            return values
        preset = PRESETS.get(values["preset"])
        if not preset:
            return values
        # Who names objects means all of them, not the first so many.
        listed = {"max_objects": None} if values.get("objects") is not None else {}
        # Section by section: who chooses the device of the light takes its samples from the preset.
        return merged({**preset.values, **listed}, values)
