"""Parameters of reconstructions by optimisation: `viewforge reconstruct`.

The defaults are the published ones, for a GPU; `SMALL_NEUS` is what a CPU can do in minutes.
"""

from typing import Any, Literal

from pydantic import Field, model_validator

from reconstruction.methods.parameters import (
    PUBLISHED_STEPS,
    AnchoredSdsParameters,
    SdsParameters,
    SjcParameters,
)
from reconstruction.parameters import TextureParameters
from stage.parameters import Parameters

MethodName = Literal["sjc", "sds", "anchored-sds", "neus"]


class LoopParameters(Parameters):
    """How an optimisation runs, whatever it minimises."""

    seed: int = Field(default=0, ge=0)
    """Of the run; every draw derives from it, the object and the step."""
    steps: int = Field(default=2000, ge=1)
    """Of the optimiser; of a reconstruction by default the method's published ones."""
    checkpoint_every: int = Field(default=500, ge=1)
    """Steps between checkpoints; the last step has one, too."""
    checkpoints_kept: int = Field(default=2, ge=1)
    """How many of the newest are kept."""
    preview_every: int = Field(default=500, ge=0)
    """Steps between preview pictures; 0 makes none."""
    report_every: int = Field(default=20, ge=1)
    """Steps between the figures that are tracked and shown."""
    clip_norm: float = Field(default=0.0, ge=0.0)
    """Longest gradient over all parameters; longer ones are shortened to it, and 0 leaves them."""


class FieldMeshParameters(Parameters):
    """How a field becomes a mesh."""

    resolution: int = Field(default=512, ge=16, le=1024)
    """Samples along the longest side of the field's box (ViewFusion's `my_train_renderer_spin36.py`: 512); of `sjc` by default
    200 (cvlab-columbia/zero123 `3drec/voxnerf/vox.py`)."""
    threshold: float | None = Field(default=8.0, gt=0.0)
    """Density at which the surface lies, in means of the density from −1 to 1, whatever the field's box (Zero-1-to-3, appendix D:
    8 on GSO, 4 on RTMV). Null, the default of `sds` and `anchored-sds`, takes the density whose surface has outlines as large
    as what is opaque by half. A signed distance has its surface at 0, whatever stands here."""
    pooling: float = Field(default=0.0, ge=0.0, le=0.5)
    """Width of the cube over which density is averaged first, units of the field's world: noise between voxels makes no surface.
    Of `sjc` by default 0.07, which are the published 7 samples of 200 from −1 to 1."""
    erosion: float = Field(default=0.0, ge=0.0, le=0.5)
    """Width of the cube of which the least density counts after that: what averaging made fatter and thin bridges go. Of `sjc`
    by default 0.05, the published 5 samples. Both come to the nearest odd number of samples; a signed distance has neither."""
    least_component: float = Field(default=0.01, ge=0.0, le=1.0)
    """Components with less of the largest one's area are dropped."""


class NeusParameters(Parameters):
    """NeuS on views with known cameras.

    As ViewFusion has it (`syncdreamer_3drec/my_neus_spin36.yaml`) with the renderer of liuyuan-pal/SyncDreamer
    (`renderer/renderer.py`), in steps of the loop's number.
    """

    rays: int = Field(default=3584, ge=1)
    """Of a step, from all pixels of all views."""
    foreground_rays: int = Field(default=512, ge=0)
    """Of a step besides, from pixels that the object covers."""
    samples: int = Field(default=64, ge=2)
    """Pieces of a ray, evenly."""
    fine_samples: int = Field(default=64, ge=0)
    """Pieces of a ray besides, where the signed distance tells the surface is; in four rounds."""
    learning_rate: float = Field(default=5e-4, gt=0.0)
    """AdamW's, after the warm-up."""
    warm_up: int = Field(default=100, ge=0)
    """Steps in which the learning rate rises from a fiftieth."""
    final_rate: float = Field(default=0.02, gt=0.0, le=1.0)
    """What the learning rate falls to, as a share: by equal factors after each `decay_every` steps."""
    decay_every: int = Field(default=1000, ge=1)
    """Steps between those."""
    annealing: int = Field(default=200, ge=0)
    """Steps until rays count as they meet the surface (Wang et al. 2021, supplement: cosine annealing)."""
    colour_weight: float = Field(default=0.5, ge=0.0)
    """Of √(|difference of RGB|² + 0.001)."""
    mask_weight: float = Field(default=1.0, ge=0.0)
    """Of the squared difference between opacity and coverage."""
    eikonal_weight: float = Field(default=0.1, ge=0.0)
    """Of (|∇f| − 1)²."""
    layers: int = Field(default=8, ge=1)
    """Hidden layers of the signed distance."""
    width: int = Field(default=256, ge=8)
    """Of each."""
    frequencies: int = Field(default=6, ge=0)
    """Octaves of the positional encoding."""
    colour_layers: int = Field(default=4, ge=1)
    """Hidden layers of the colour."""
    view_frequencies: int | None = Field(default=4, ge=0)
    """Octaves of the encoding of directions for the colour; null for colours that look the same from everywhere."""
    occupancy: int = Field(default=0, ge=0, le=512)
    """Cells along a side of the grid that tells which pieces are empty; 0, as published, asks the field everywhere."""


SMALL_NEUS = NeusParameters(
    rays=256,
    foreground_rays=128,
    samples=24,
    fine_samples=16,
    learning_rate=2e-3,
    final_rate=0.05,
    decay_every=300,
    layers=3,
    width=64,
    frequencies=4,
    colour_layers=2,
    view_frequencies=None,
    occupancy=32,
)
"""What two CPU cores do in minutes with views of 64 pixels."""


METHOD_MESHES: dict[str, dict[str, Any]] = {
    "sjc": {"resolution": 200, "pooling": 0.07, "erosion": 0.05},
    "sds": {"threshold": None},
    "anchored-sds": {"threshold": None},
}
"""What differs of `FieldMeshParameters` by method: published for SJC (cvlab-columbia/zero123 `3drec/voxnerf/vox.py`,
`export_mesh`), chosen by hand for every object where SDS is published."""


class ReconstructParameters(Parameters):
    """A reconstruction by optimisation."""

    method: MethodName = "neus"
    """What is optimised against: views with cameras (`neus`), or a prior (`sjc`, `sds`, `anchored-sds`)."""
    device: str = "auto"
    """A torch device; `auto` is the first GPU where there is one."""
    loop: LoopParameters = LoopParameters()
    neus: NeusParameters = NeusParameters()
    sjc: SjcParameters = SjcParameters()
    sds: SdsParameters = SdsParameters()
    anchored_sds: AnchoredSdsParameters = AnchoredSdsParameters()
    mesh: FieldMeshParameters = FieldMeshParameters()
    texture: TextureParameters = TextureParameters()

    @model_validator(mode="before")
    @classmethod
    def _published(cls, values: Any) -> Any:  # noqa: ANN401 - of any caller
        """A run takes the method's published steps and mesh where none are asked for."""
        if not isinstance(values, dict):
            return values
        method = values.get("method", "neus")
        steps = {"steps": PUBLISHED_STEPS[method]} if method in PUBLISHED_STEPS else {}
        published = {"loop": steps, "mesh": METHOD_MESHES.get(method, {})}
        return values | {name: _beneath(values.get(name), those) for name, those in published.items() if those}


def _beneath(given: Any, published: dict[str, Any]) -> Any:  # noqa: ANN401 - of any caller
    """What was given of some parameters, on what a method is published with; unchanged where it is of no known kind."""
    chosen = given.model_dump(exclude_unset=True) if isinstance(given, Parameters) else given or {}
    return {**published, **chosen} if isinstance(chosen, dict) else given
