"""A published protocol as an evaluation was run under it: what differs."""

from typing import Any

from evaluation.parameters import EvaluateParameters
from evaluation.protocol_presets import PRESETS

# Who calculates a picture, and by which name its values were chosen, is no part of what was published.
_UNPUBLISHED = {"device", "preset"}


def preset_details(parameters: EvaluateParameters) -> dict[str, Any] | None:
    """What the report says of the protocol; None without a preset."""
    if parameters.preset is None:
        return None
    preset = PRESETS[parameters.preset]
    published = EvaluateParameters(preset=parameters.preset)
    names = sorted({*preset.values, "objects", "max_objects", "scene_targets"})
    theirs, ours = (_values(each, names) for each in (published, parameters))
    return {
        "name": preset.name,
        "title": preset.title,
        "source": preset.source,
        "unpublished": preset.unpublished,
        "published_objects": preset.objects,
        "differences": {name: [theirs[name], ours[name]] for name in theirs if theirs[name] != ours[name]},
    }


def _values(parameters: EvaluateParameters, names: list[str]) -> dict[str, Any]:
    """The parameters with these names, those of `quality` one by one."""
    values = {name: value for name, value in parameters.model_dump(mode="json").items() if name in names}
    quality = values.pop("quality", {})
    return values | {f"quality.{name}": quality[name] for name in sorted(quality) if name not in _UNPUBLISHED}
