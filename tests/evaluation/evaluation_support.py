"""Rows of a catalogue and scores of objects, made up."""

from catalog.table import Asset
from evaluation.scores import ObjectScores, TargetPose


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


def object_scores(uid: str, subset: str, model: float | None, copied: float, mean: float) -> ObjectScores:
    """Figures with the given PSNR, over two views of which the one at the back is 1 dB worse."""
    figures = {"model": float("nan") if model is None else model, "copy_input": copied, "mean_image": mean}
    return ObjectScores(
        uid,
        f"title <{uid}>",
        subset,
        {method: {"psnr": value, "ssim": value / 40} for method, value in figures.items()},
        poses=(TargetPose(1, 90.0, 30.0, 30.0), TargetPose(2, 180.0, 30.0, 30.0)),
        view_figures={
            method: {"psnr": (value + 0.5, value - 0.5), "ssim": (value / 40, value / 40)}
            for method, value in figures.items()
        },
    )
