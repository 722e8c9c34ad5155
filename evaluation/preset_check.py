"""A published protocol as an evaluation was run under it: that it is the protocol's source, and what differs."""

from typing import Any

from evaluation.parameters import EvaluateParameters
from evaluation.protocol_presets import PRESETS
from stage.errors import ParameterError


def check_preset(parameters: EvaluateParameters) -> None:
    """Refuse a preset on objects of another source: its name would stand beside figures that it is not about.

    Raises:
        ParameterError: in that case.
    """
    if parameters.preset is None:
        return
    wanted = PRESETS[parameters.preset].values["source"]
    if parameters.source != wanted:
        raise ParameterError(
            f"evaluate.preset {parameters.preset} is of the source {wanted}, and evaluate.source is {parameters.source}",
            f"set evaluate.source to {wanted}, or evaluate.preset to null and evaluate.protocol to its cameras",
        )


def preset_details(parameters: EvaluateParameters) -> dict[str, Any] | None:
    """What the report says of the protocol; None without a preset."""
    if parameters.preset is None:
        return None
    preset = PRESETS[parameters.preset]
    published = EvaluateParameters(preset=parameters.preset)
    names = sorted({*preset.values, "objects", "scene_targets"})
    theirs, ours = (each.model_dump(mode="json", include=set(names)) for each in (published, parameters))
    return {
        "name": preset.name,
        "title": preset.title,
        "source": preset.source,
        "unpublished": preset.unpublished,
        "published_objects": preset.objects,
        "differences": {name: [theirs[name], ours[name]] for name in names if theirs[name] != ours[name]},
    }
