"""Which pipelines ViewFusion can be laid over, and how each is told of views."""

from stage.errors import InputError
from systems.cascade_zero123.pipeline import CascadePipeline
from systems.object_pipeline import ObjectPipeline
from systems.viewfusion.cascade import CascadeConditioner
from systems.viewfusion.conditions import Conditioner
from systems.zero123.pipeline import Zero123Pipeline
from systems.zeronvs.pipeline import ZeroNvsPipeline


def conditioner_of(base: ObjectPipeline) -> Conditioner:
    """How a pipeline is told of views.

    Raises:
        InputError: when it makes no pictures from relative positions about a centre.
    """
    if isinstance(base, Zero123Pipeline) or (isinstance(base, ZeroNvsPipeline) and base.mode == "3dof"):
        return Conditioner(base)
    if isinstance(base, CascadePipeline):
        return CascadeConditioner(base)
    if isinstance(base, ZeroNvsPipeline):
        raise InputError(
            f"ViewFusion needs positions about a centre, and the ZeroNVS model's mode is {base.mode}",
            "take a model of mode 3dof",
        )
    raise InputError(
        f"ViewFusion makes no views with a {type(base).__name__}", "take a Zero-1-to-3, Cascade or ZeroNVS 3dof model"
    )
