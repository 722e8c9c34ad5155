"""All parameters of a run: the rooms' models composed, so that a mistake anywhere shows before anything runs."""

from typing import Any

from pydantic import Field

from blender_render.parameters import RenderParameters, SplatterParameters
from catalog.parameters import CatalogParameters
from evaluation.parameters import EvaluateParameters
from flows.flow_parameters import FlowParameters
from reconstruction.optimisation.section import ReconstructSection
from registry.parameters import RegisterParameters
from stage.parameters import Parameters, validated
from training.data.shard_parameters import ShardParameters
from training.parameters import TrainParameters
from upkeep.retention_parameters import RetentionParameters


class PipelineParameters(Parameters):
    """The sections of params.yaml."""

    seed: int = Field(default=0, ge=0)
    """From which every random choice derives."""
    catalog: CatalogParameters = CatalogParameters()
    """Which objects."""
    render: RenderParameters = RenderParameters()
    """Training views."""
    splatter: SplatterParameters = SplatterParameters()
    """Pixel-aligned Gaussians."""
    shard: ShardParameters = ShardParameters()
    """Tar files."""
    train: TrainParameters = TrainParameters()
    """The model."""
    evaluate: EvaluateParameters = EvaluateParameters()
    """Scores."""
    reconstruct: ReconstructSection = ReconstructSection()
    """Objects in 3D, one by one; no stage depends on it."""
    register_: RegisterParameters = Field(default=RegisterParameters(), alias="register")
    """Registration and promotion."""
    flow: FlowParameters = FlowParameters()
    """Attempts, time limits and patience of the flows."""
    retention: RetentionParameters = RetentionParameters()
    """What `viewforge gc` keeps."""


def check_parameters(values: dict[str, Any], place: str) -> PipelineParameters:
    """The parameters of a run, all sections checked.

    Raises:
        ParameterError: naming the first mistake and its remedy.
    """
    return validated(PipelineParameters, values, place)
