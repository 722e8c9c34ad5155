"""Parameters of rendering: what is rendered, how well, and by how many workers."""

from typing import Any, Literal

from pydantic import Field, model_validator

from geometry.refinement_settings import RefinementSettings
from stage.executor import ExecutorParameters
from stage.parameters import Parameters

# Chosen by measurement: docs/benchmarks.md. `reference` is what the published renderings set, or else Cycles' defaults.
_PRESETS: dict[str, dict[str, Any]] = {
    "fast": {"samples": 12, "crop": True},
    "standard": {"samples": 64, "least_samples": 8, "noise_threshold": 0.02, "crop": True},
    "reference": {
        "samples": 128,
        "noise_threshold": 0.01,
        "denoiser_quality": "high",
        "denoiser_prefilter": "accurate",
        "transparent_bounces": 3,
    },
}


class QualityParameters(Parameters):
    """How a picture is rendered."""

    preset: Literal["fast", "standard", "reference"] | None = None
    """Named values for what follows up to `crop`, each of which may still be given by itself; null takes the defaults."""
    samples: int = Field(default=16, ge=1)
    """Most Cycles samples per pixel of the colour pass; the published renderings use 128."""
    least_samples: int = Field(default=0, ge=0)
    """Samples that every pixel gets before its noise is judged; 0 leaves the number to Cycles."""
    noise_threshold: float = Field(default=0.0, ge=0, lt=1)
    """Noise below which a pixel gets no further samples (Cycles' adaptive sampling); 0 gives every pixel all of them."""
    denoise: bool = True
    """Whether OpenImageDenoise cleans the colour pass."""
    denoiser_quality: Literal["fast", "balanced", "high"] = "fast"
    """Filter of OpenImageDenoise; `high` is Blender's default."""
    denoiser_prefilter: Literal["none", "fast", "accurate"] = "fast"
    """How the denoiser's guides, albedo and normal, are cleaned before; `accurate` is Blender's default."""
    transparent_bounces: int = Field(default=8, ge=0)
    """Transparent surfaces that a ray goes through, such as a tree's leaves; the published renderings have 3."""
    crop: bool = False
    """Whether only the part of a picture that holds the object is rendered and denoised: half the time, other rounding."""
    device: Literal["auto", "cpu", "gpu"] = "auto"
    """Where Cycles runs; `auto` takes a GPU when Cycles finds one."""
    ambient: float = Field(default=0.5, ge=0)
    """Strength of the uniform white surroundings, so that no side of an object is black; a map has its own."""
    key_light: float = Field(default=110.0, ge=0)
    """Mean power of the area light, watts; each object's own lies within a third of it, as in Zero-1-to-3's renders."""
    lighting: Literal["zero123", "four_suns", "uniform", "trellis", "hdri"] = "zero123"
    """Lamps and surroundings: one area light, objaverse-xl's four suns, uniform white, new lamps for every view, or a map."""
    hdri: str | None = None
    """Environment map of the lighting `hdri`: an .hdr or .exr file, absolute or relative to the workspace."""

    @model_validator(mode="before")
    @classmethod
    def _fill_in_preset(cls, values: Any) -> Any:  # noqa: ANN401 - any YAML value
        if isinstance(values, dict) and isinstance(values.get("preset"), str):
            return {**_PRESETS.get(values["preset"], {}), **values}
        return values


class AssetParameters(Parameters):
    """Which assets are drawn, and which are left out before they take time and memory."""

    missing_textures: Literal["render", "exclude"] = "render"
    """An asset that lacks textures: drawn with a neutral grey in their place, or left out as `missing-texture`."""
    max_faces: int = Field(default=20_000_000, ge=1)
    """Faces, as the file's own counts say; more is `oversized`. FBX files say it nowhere: time and memory limit those."""
    max_texture_pixels: int = Field(default=16384 * 16384, ge=1)
    """Pixels of one texture, as its header says; more is `oversized`."""


class RenderParameters(Parameters):
    """Parameters of the `render` stage."""

    protocol: str = "zero123"
    """Camera protocol, a name in `blender_render.protocols`."""
    views: int = Field(default=12, ge=1)
    """Views per object."""
    resolution: int = Field(default=64, ge=8)
    """Width and height of a view, pixels; the published renderings have 512."""
    quality: QualityParameters = QualityParameters()
    """Samples, denoising, device and light."""
    assets: AssetParameters = AssetParameters()
    """Missing textures, and limits of size."""
    passes: tuple[Literal["depth", "normal", "position", "albedo", "mask"], ...] = ("depth", "normal")
    """Geometry passes that are stored beside each picture; none are rendered when the list is empty."""
    min_coverage: float = Field(default=0.002, ge=0, le=1)
    """Mean alpha below which an object counts as blank."""
    packs: int = Field(default=4, ge=1)
    """Tar files that the rendered objects are published in."""
    output_root: str | None = None
    """Where machines without a common disk publish finished objects, a tar each: a folder or a URL as s3://bucket/renders."""
    max_failure_rate: float = Field(default=0.2, ge=0, le=1)
    """Share of objects that may fail before the stage does."""
    executor: ExecutorParameters = ExecutorParameters()
    """Worker processes."""


class RefinementParameters(RefinementSettings):
    """Refinement of splatter images by optimisation; the sections of `RefinementSettings`, and who does it."""

    views: int = Field(default=24, ge=2)
    """Pictures per object that its Gaussians are held against, those for validation among them."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where it runs; `auto` takes a GPU when PyTorch finds one."""
    objects_per_batch: int = Field(default=1, ge=1)
    """Objects that a worker optimises at once, so that a GPU has enough to do; results do not depend on it."""
    checkpoint_every: int = Field(default=50, ge=1)
    """Steps between two saved states, from which a killed refinement goes on."""
    timeout_seconds: float = Field(default=3600.0, gt=0)
    """Wall-clock limit of one object in place of the executor's."""

    @model_validator(mode="after")
    def _leave_something_to_learn_from(self) -> "RefinementParameters":
        if self.validation_views >= self.views:
            raise ValueError("validation_views must be less than views")
        return self


class SplatterParameters(Parameters):
    """Parameters of the `splatter` stage."""

    layout: Literal["six_views", "zero_1_to_g_lvis", "zero_1_to_g_lvis_early", "zero_1_to_g_lara"] = "six_views"
    """The six cameras that the Gaussians are made from, a protocol in `blender_render.protocols`."""
    resolution: int = Field(default=128, ge=16)
    """Gaussians per side of a view."""
    max_objects: int | None = Field(default=None, ge=1)
    """Only the first so many objects in order of uid; all when null."""
    colour: Literal["lit", "albedo"] = "lit"
    """Colour of the Gaussians: as the light shows the object, or the surfaces' own, opaque and without light."""
    footprint: float = Field(default=0.5, gt=0)
    """Standard deviation of a Gaussian in pixels of its own view; with less the surface opens when one zooms in."""
    opacity: float = Field(default=0.95, gt=0, lt=1)
    """Opacity of a Gaussian that covers its pixel."""
    inset: float = Field(default=1.6, ge=0)
    """How far inside the surface the centres lie, pixels of their own view, so that silhouettes are not fattened; 0 is on it."""
    check_views: int = Field(default=4, ge=1)
    """Unseen views per object from which the Gaussians' pictures are judged."""
    quality: QualityParameters = QualityParameters()
    """Samples, denoising, device and light of the colours."""
    refinement: RefinementParameters = RefinementParameters()
    """Optimisation against further pictures; none by default."""
    assets: AssetParameters = AssetParameters()
    """Missing textures, and limits of size."""
    packs: int = Field(default=4, ge=1)
    """Tar files that the splatter images are published in."""
    max_failure_rate: float = Field(default=0.2, ge=0, le=1)
    """Share of objects that may fail before the stage does."""
    executor: ExecutorParameters = ExecutorParameters()
    """Worker processes."""
