"""Published evaluation protocols by name: what `evaluate.preset` stands for, where it was published, and what was not.

A preset fills in parameters of the stage, each of which may still be given by itself; what then differs is written beside the
figures. How a model is sampled is no part of it.
"""

from dataclasses import dataclass
from typing import Any

_REFERENCE = {"preset": "reference"}


@dataclass(frozen=True)
class ProtocolPreset:
    """A published protocol."""

    name: str
    title: str
    source: str
    """Where it was published."""
    values: dict[str, Any]
    """Parameters of the stage."""
    unpublished: str
    """What nobody published, and what ours is."""
    objects: int | None = None
    """How many there were."""


def _gso(protocol: str, views: int, resolution: int = 256, **further: Any) -> dict[str, Any]:  # noqa: ANN401 - any YAML value
    return {
        "source": "gso",
        "protocol": protocol,
        "views": views,
        "resolution": resolution,
        "quality": _REFERENCE,
        **further,
    }


PRESETS: dict[str, ProtocolPreset] = {
    preset.name: preset
    for preset in (
        ProtocolPreset(
            name="zero123",
            title="Zero-1-to-3: random poses, the first view is the input, the others are targets",
            source="Liu et al. 2023, Zero-1-to-3, section 4; cvlab-columbia/zero123 issues 22, 46 and 57",
            values=_gso("gso_free", 17, max_objects=20),
            unpublished="which 20 objects: ours are the first in order of uid; how poses are drawn: see the protocol gso_free; "
            "the number of targets: 16, as on RTMV",
            objects=20,
        ),
        ProtocolPreset(
            name="syncdreamer",
            title="SyncDreamer: 16 views around the object at elevation 30°, the input among those that are scored",
            source="Liu et al. 2023, SyncDreamer, section 5; liuyuan-pal/SyncDreamer eval_nvs.py, blender_script.py and issue 51",
            values=_gso("syncdreamer", 16, score_input=True),
            unpublished="the names of the 30 objects, of which there are meshes on a file share and short words in "
            "eval_mesh.py: give them as evaluate.objects; how each was turned by hand before it was rendered",
            objects=30,
        ),
        ProtocolPreset(
            name="viewfusion",
            title="ViewFusion: free renders at elevation 0° to 30°, distance 1.5 to 2.2",
            source="Yang et al. 2024, ViewFusion, table 1; Wi-sc/ViewFusion",
            values=_gso("viewfusion_free", 12),
            unpublished="the objects and the input of each: ours are all of the folder, and the first view",
        ),
        ProtocolPreset(
            name="viewfusion_36",
            title="ViewFusion: a turn of 36 views, for consistency between neighbours",
            source="Yang et al. 2024, ViewFusion, table 2; Wi-sc/ViewFusion test_video.py",
            values=_gso("viewfusion360", 36),
            unpublished="the objects; the turn's elevation, 30°, and distance, 1.5, are those of its reconstruction",
        ),
        ProtocolPreset(
            name="viewfusion_16",
            title="ViewFusion: a turn of 16 views, for consistency between neighbours",
            source="Yang et al. 2024, ViewFusion, table 2; Wi-sc/ViewFusion test_video.py",
            values=_gso("syncdreamer", 16),
            unpublished="the objects",
        ),
        ProtocolPreset(
            name="zero_1_to_g",
            title="Zero-1-to-G: a turn of 16 views on the horizon, distance 1.3, field of view 39.6°",
            source="Meng et al. 2025, Zero-1-to-G; mengxuyiGit/LGM dataset_v5_GSO and calculate_metrics2.py",
            values=_gso("zero_1_to_g", 16, 320),
            unpublished="the objects, and which view is the input: ours is the first",
        ),
        ProtocolPreset(
            name="zeronvs_dtu",
            title="ZeroNVS on 15 scenes of DTU: view 25 is the input, 33 others are targets",
            source="Sargent et al. 2024, ZeroNVS, section 4; kylesargent/ZeroNVS launch_eval_dtu.sh",
            values={"source": "dtu", "resolution": 256},
            unpublished="the published figures are of fields distilled from the model, at 400×300; ours are of pictures that "
            "it samples, cut to the square",
            objects=15,
        ),
        ProtocolPreset(
            name="zeronvs_mip_nerf_360",
            title="ZeroNVS on 7 scenes of Mip-NeRF 360: one input, all other views are targets",
            source="Sargent et al. 2024, ZeroNVS, section 4; kylesargent/ZeroNVS launch_eval_mipnerf360.sh",
            values={"source": "mip_nerf_360", "resolution": 256},
            unpublished="the published figures are of fields distilled from the model; ours are of pictures that it samples",
            objects=7,
        ),
    )
}
