"""Rows of a catalogue and scores of objects, made up."""

from catalog.table import Asset
from evaluation.scores import ObjectScores


def asset(uid: str, split: str, sha256: str = "") -> Asset:
    return Asset(
        uid=uid,
        source="folder",
        path=f"objects/{uid}.glb",
        sha256=sha256 or f"sha of {uid}",
        companions_sha256="",
        bytes=1,
        file_type="glb",
        up_axis="Y",
        licence="CC0-1.0",
        author="a",
        title=f"object {uid}",
        tags=(),
        split=split,
        selected=True,
        reason="",
    )


def object_scores(uid: str, subset: str, model: float, copied: float, mean: float) -> ObjectScores:
    figures = {"model": model, "copy_input": copied, "mean_image": mean}
    return ObjectScores(uid, f"title <{uid}>", subset, {m: {"psnr": v, "ssim": v / 40} for m, v in figures.items()})
