"""The ways in which ZeroNVS is told of cameras, by name; `conditioning` says what each of them computes."""

from typing import Literal, TypeAlias, get_args

from geometry.scene_scales import ScaleName
from stage.errors import ParameterError

ConditioningMode: TypeAlias = Literal[
    "3dof", "7dof", "7dof_unscaled", "7dof_stereomag_scale", "7dof_quantile_scale", "7dof_metric_scale"
]
"""How a pose is made into a vector."""
MODES: tuple[ConditioningMode, ...] = get_args(ConditioningMode)
RELEASED_MODE: ConditioningMode = "7dof_quantile_scale"
"""Of `zeronvs.ckpt`."""
# What the script of the release, run_train_local.sh, passes; its own code knows no such mode.
_SCRIPTS_NAME = "7dof_qs"
_SCALES: dict[ConditioningMode, ScaleName] = {
    "7dof": "scene_radius",
    "7dof_stereomag_scale": "nearplane_quantile",
    "7dof_quantile_scale": "depth_quantile",
}


def known_mode(name: str) -> ConditioningMode:
    """The mode of a name.

    Raises:
        ParameterError: listing the valid ones, when it is none.
    """
    if name in MODES:
        return name
    meant = f", which the released run_train_local.sh says for {RELEASED_MODE}" if name == _SCRIPTS_NAME else ""
    raise ParameterError(f"no conditioning mode {name}{meant}", f"the modes are {', '.join(MODES)}")


def scale_name(mode: ConditioningMode) -> ScaleName | None:
    """Which measured scale a mode divides translations by; None where it does without, and of `7dof_metric_scale`.

    Nobody measures the units in a metre: `compute_T` fits them to a metric depth m of the condition view, by Σ m·d / Σ m² over
    the pixels whose depth d in scene units is known.

    Raises:
        ParameterError: when there is no such mode.
    """
    return _SCALES.get(known_mode(mode))
