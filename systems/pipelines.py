"""The pipeline of whatever system a folder holds: what samples a trained model without knowing which it is.

pipeline = load_pipeline(Path("data/model"))
pictures = pipeline.sample_views(image, camera, wanted, scale).images
"""

from pathlib import Path

from systems.cascade_zero123.pipeline import CascadePipeline
from systems.object_pipeline import ObjectPipeline
from systems.pictures.choices import FramingName
from systems.zero123.foreign_weights import pipeline_class
from systems.zero123.pipeline import Zero123Pipeline
from systems.zero123.pipeline_folder import read_pipeline
from systems.zero_1_to_g.grid.pipeline import Zero1ToGGridPipeline
from systems.zero_1_to_g.pipeline import Zero1ToGPipeline
from systems.zeronvs.pipeline import ZeroNvsPipeline

_SYSTEMS: dict[str | None, type[ObjectPipeline]] = {
    kind.__name__: kind
    for kind in (Zero123Pipeline, ZeroNvsPipeline, CascadePipeline, Zero1ToGPipeline, Zero1ToGGridPipeline)
}


def class_of(folder: Path) -> type[ObjectPipeline]:
    """The class of a folder's pipeline, by its `model_index.json`."""
    return _SYSTEMS.get(pipeline_class(folder), Zero123Pipeline)


def load_pipeline(folder: Path) -> ObjectPipeline:
    """The pipeline that was saved in a folder, of the class that its `model_index.json` names, without asking any hub.

    Raises:
        InputError: when the folder holds none of ours, or one that is damaged.
    """
    return read_pipeline(class_of(folder), folder)


def framing_of(folder: Path) -> FramingName:
    """How an object stands in the pictures that a folder's pipeline knows, without reading its weights."""
    kind = class_of(folder)
    # Of every class a constant.
    return kind.__new__(kind).framing
