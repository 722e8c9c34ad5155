"""The section `reconstruct` of params.yaml: how `viewforge reconstruct` works in a workspace.

An evaluation takes the same keys under `evaluate.reconstruct`, by an alias of YAML where they are to be the same ones: so DVC
sees what its figures depend on, and other parameters for an object that is reconstructed by hand make no figure stale.
"""

from typing import Any

from pydantic import Field, model_validator

from reconstruction.methods.parameters import PUBLISHED_STEPS
from reconstruction.optimisation.parameters import ReconstructParameters
from reconstruction.optimisation.presets import small
from stage.parameters import load_section, load_seed, merged, read_parameters
from stage.workspace import Workspace
from training.tracking.parameters import TrackingParameters

SECTION = "reconstruct"
# What is kept and told on the way decides nothing.
_ON_THE_WAY = {"checkpoint_every", "checkpoints_kept", "preview_every", "report_every"}


class ReconstructSection(ReconstructParameters):
    """How objects are reconstructed in a workspace."""

    small: bool = Field(default=False, strict=True)
    """Take what a CPU can do for whatever is not given (`reconstruction/optimisation/presets.py`), not what was published."""
    tracking: TrackingParameters = TrackingParameters()
    """Where `viewforge reconstruct` reports, as trainings do (docs/tracking.md); an evaluation reports its figures alone."""

    @model_validator(mode="before")
    @classmethod
    def _for_a_cpu(cls, values: Any) -> Any:  # noqa: ANN401 - of any caller
        if not isinstance(values, dict) or values.get("small") is not True:
            return values
        method = values.get("method", "neus")
        return merged(small(method), values) if method in PUBLISHED_STEPS else values


def field_values(parameters: ReconstructSection) -> dict[str, Any]:
    """What decides a field beside its pictures and seed, as JSON: the method, its own parameters, steps and gradients."""
    own = parameters.method.replace("-", "_")
    values = parameters.model_dump(mode="json", include={"method", "loop", own})
    return values | {"loop": {k: v for k, v in values["loop"].items() if k not in {*_ON_THE_WAY, "seed"}}}


def load_reconstruct(workspace: Workspace) -> dict[str, Any]:
    """The section as it is given, checked, with the run's seed; in a folder without params.yaml one that reports nowhere.

    Raises:
        ParameterError: when a key or value of it is none.
    """
    if not workspace.parameters.is_file():
        return {"loop": {"seed": 0}, "tracking": {"trackers": []}}
    load_section(workspace.parameters, SECTION, ReconstructSection)
    given = read_parameters(workspace.parameters).get(SECTION) or {}
    return merged({"loop": {"seed": load_seed(workspace.parameters)}}, given)
