"""Scales of the scenes in ZeroNVS's shards, worked out of their cameras and depth once, when the shards are scanned.

The middle square of each frame counts, as in the published loader, and its depth times `scale_adjustment`. The near plane is
always that of the depth as stored. The view's quantile is of dense depth: as stored where no estimator is asked for, otherwise
the estimator's, aligned with what is stored and overridden by it; NaN where too little is stored to align with.
"""

import io
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

import numpy as np
from jaxtyping import Float
from PIL import Image

from geometry.scene_scales import SCALES, depth_quantile, near_depth, nearplane_of, scene_radius
from training.data.dense_depth import DepthEstimator, TransformersEstimator, densified, estimator_identity
from training.data.pictures import decoded
from training.data.squares import middle_square
from training.data.zeronvs_cameras import camera_from
from training.data.zeronvs_layout import decode_depth

_log = logging.getLogger(__name__)
_AS_STORED, _CAMERAS = "as stored", "cameras"


@dataclass(frozen=True)
class WantedScales:
    """How a scan works out scales. Reading all depth takes some thirty times as long as the shards' headers alone."""

    estimator: Path | None = None
    """Folder of the network that makes depth dense; None takes it as stored."""
    depth: bool = True
    """False works out the scene radius alone, for which no depth is read."""

    @property
    def identity(self) -> str:
        """What tells these scales from others of the same shards; raises as `estimator_identity` does."""
        if not self.depth:
            return _CAMERAS
        return estimator_identity(self.estimator) if self.estimator else _AS_STORED


@dataclass(frozen=True)
class _FrameScales:
    """What one frame says of a scene's size."""

    c2w: Float[np.ndarray, "4 4"] | None
    near: float
    quantile: float


def scales_of_scene(
    stream: BinaryIO, scene: str, frames: Mapping[str, Sequence[int]], wanted: WantedScales
) -> dict[str, list[float]]:
    """The scales of each frame of a scene, by their names. One frame is in memory at a time.

    A frame that is damaged gives none, with a warning: it is refused when it is trained on.

    Args:
        stream: its shard.
        scene: its name, for the warning.
        frames: where each frame's picture, metadata and depth lie, as `zeronvs_scan` finds them.
        wanted: how.
    """
    found = [_of_frame(stream, f"{scene}/frame{row['number']:06d}", row, wanted) for row in _rows(frames)]
    poses = [frame.c2w for frame in found if frame.c2w is not None]
    radius = scene_radius(np.stack(poses)) if poses else math.nan
    near = nearplane_of(frame.near for frame in found)
    quantiles = [frame.quantile for frame in found]
    return dict(zip(SCALES, ([radius] * len(found), [near] * len(found), quantiles), strict=True))


def _rows(frames: Mapping[str, Sequence[int]]) -> Iterator[dict[str, int]]:
    for values in zip(*frames.values(), strict=True):
        yield dict(zip(frames, values, strict=True))


def _of_frame(stream: BinaryIO, name: str, row: Mapping[str, int], wanted: WantedScales) -> _FrameScales:
    c2w = None
    try:
        picture = _piece(stream, row, "picture")
        with Image.open(io.BytesIO(picture)) as header:
            width, height = header.size
        c2w, _, scale = camera_from(_piece(stream, row, "metadata"), width, height)
        if row["depth_size"] and wanted.depth:
            depth = _adjusted(_piece(stream, row, "depth"), scale, (height, width))
            return _FrameScales(c2w, near_depth(depth), depth_quantile(_dense(depth, picture, wanted)))
    except (ValueError, OSError) as error:
        _log.warning("no scales of a damaged frame: %s: %s: %s", stream.name, name, error)
    return _FrameScales(c2w, math.nan, math.nan)


def _adjusted(data: bytes, scale: float, shape: tuple[int, int]) -> Float[np.ndarray, "s s"]:
    """The middle square of a frame's depth, in the units of its camera."""
    depth = decode_depth(data) * np.float32(scale)
    if depth.shape != shape:
        raise ValueError("its depth and its picture differ in size")
    return middle_square(depth)


def _dense(depth: Float[np.ndarray, "s s"], picture: bytes, wanted: WantedScales) -> Float[np.ndarray, "s s"]:
    if wanted.estimator is None:
        return depth
    try:
        seen = middle_square(np.asarray(decoded(picture).convert("RGB")))
        return densified(_estimator(wanted.estimator).disparity(seen), depth)
    except ValueError:
        return np.zeros_like(depth)


@lru_cache(maxsize=1)
def _estimator(folder: Path) -> DepthEstimator:
    """The network, once in each process that scans."""
    import torch

    return TransformersEstimator(folder, "cuda" if torch.cuda.is_available() else "cpu")


def _piece(stream: BinaryIO, row: Mapping[str, int], part: str) -> bytes:
    stream.seek(row[f"{part}_offset"])
    return stream.read(row[f"{part}_size"])
