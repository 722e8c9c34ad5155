"""What was measured and how, in a few words each: the head of the report."""

from typing import Any

from evaluation.evaluated_folder import EvaluatedFolder
from geometry.perceptual import NOT_AVAILABLE

_SOURCES = {
    "heldout": "held-out objects of the catalogue",
    "gso": "Google Scanned Objects",
    "dtu": "scenes of DTU",
    "mip_nerf_360": "scenes of Mip-NeRF 360",
    "folder": "of the given folder",
}
_SAID_ELSEWHERE = {"resolution", "scheduler", "inference_steps", "guidance_scale", "eta", "view_fusion"}


def protocol_name(result: EvaluatedFolder) -> str:
    """The published protocol that was chosen, or that of the cameras."""
    preset = result.details.get("preset") or {}
    return str(preset.get("name") or result.metrics.get("protocol", NOT_AVAILABLE))


def facts(result: EvaluatedFolder) -> dict[str, Any]:
    """Names and values, in the order in which they are shown."""
    metrics, settings = result.metrics, result.details.get("settings", {})
    source = _SOURCES.get(metrics.get("source", ""), metrics.get("source", ""))
    counts = {f"{subset} objects": f"{result.count(subset)}" for subset in result.subsets}
    if result.subsets:
        counts[f"{result.subsets[0]} objects"] += f" {source}".rstrip()
    further = {
        name.replace("_", " "): _text(value)
        for name, value in settings.items()
        if name not in _SAID_ELSEWHERE and value is not None
    }
    data = {"evaluation data": metrics["data_sha256"][:12]} if "data_sha256" in metrics else {}
    return {**counts, **_protocol(result), **_pictures(settings), **_sampler(settings), **further, **data}


def incomplete(result: EvaluatedFolder) -> str:
    """That objects lack figures, which makes means incomparable; empty where none does."""
    failed = sum(result.metrics.get("failed", {}).values())
    if failed:
        return (
            f"{failed} object{'' if failed == 1 else 's'} could not be rendered or sampled; means are over the others."
        )
    if result.metrics.get("complete", True):
        return ""
    missing, total = len(result.metrics.get("missing", {})), result.metrics.get("objects_of_truth", "?")
    return f"{missing} of {total} objects lack figures: means over the others cannot be compared with those over all."


def _protocol(result: EvaluatedFolder) -> dict[str, str]:
    name = protocol_name(result)
    views = f", {result.metrics['views']} views" if "views" in result.metrics else ""
    preset = result.details.get("preset") or {}
    if not preset:
        return {"protocol": f"{name}{views}"}
    found = {"protocol": f"{name}{views}: {preset['title']}", "source of the protocol": preset["source"]}
    if preset.get("unpublished"):
        found["not published"] = preset["unpublished"]
    for key, (theirs, ours) in preset.get("differences", {}).items():
        found[f"{key.replace('_', ' ')}, not as published"] = f"{_text(ours)} instead of {_text(theirs)}"
    return found


def _pictures(settings: dict[str, Any]) -> dict[str, str]:
    size = settings.get("resolution")
    if size is None:
        return {}
    return {"pictures": f"{size} × {size} px" if isinstance(size, int) else str(size)}


def _sampler(settings: dict[str, Any]) -> dict[str, str]:
    if "inference_steps" not in settings:
        return {}
    steps = f"{settings['inference_steps']} steps of {settings['scheduler']}"
    fusion = settings.get("view_fusion")
    fused = f", views fused with the {fusion['weights']} weights" if fusion else ""
    return {"sampler": f"{steps}, guidance {settings['guidance_scale']}, η {settings['eta']}{fused}"}


def _text(value: object) -> str:
    """A value in words."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return f"{len(value)} named" if len(value) > 3 else ", ".join(str(item) for item in value)
    return "none" if value is None else str(value)
