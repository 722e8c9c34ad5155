"""How much of an object COLMAP can triangulate from its views: points where they agree with each other and with their cameras."""

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float
from PIL import Image

from evaluation.metrics.eight_bits import eight_bits
from geometry.cameras import Intrinsics
from stage.errors import StageFailedError

PROCESS = "evaluation.metrics.colmap_process"
# Sixteen views of 256² take two seconds.
_TIMEOUT_SECONDS = 600


def colmap_points(
    pictures: Float[np.ndarray, "v h w 3"], c2w: Float[np.ndarray, "v 4 4"], lenses: Sequence[Intrinsics]
) -> Float[np.ndarray, "n 3"]:
    """The sparse points that COLMAP triangulates from views with known cameras.

    SyncDreamer's published count is of dense points, after patch-match stereo, which needs CUDA; the two are not comparable.

    Args:
        pictures: RGB in [0, 1]; rounded to 8 bits.
        c2w: OpenGL axes.
        lenses: of each view.

    Raises:
        StageFailedError: when COLMAP's process ends with an error.
    """
    with tempfile.TemporaryDirectory(prefix="viewforge-colmap-") as temporary:
        folder = Path(temporary)
        (folder / "images").mkdir()
        for number, picture in enumerate(eight_bits(pictures)):
            Image.fromarray(picture).save(folder / "images" / f"{number:05}.png")
        lens = np.array([[each.fx, each.fy, each.cx, each.cy] for each in lenses])
        np.savez(folder / "cameras.npz", c2w=c2w, lens=lens)
        _run(folder)
        return np.load(folder / "points.npy")


def _run(folder: Path) -> None:
    command = [sys.executable, "-m", PROCESS, str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise StageFailedError(f"COLMAP took more than {_TIMEOUT_SECONDS} s for one object", _REMEDY) from None
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        raise StageFailedError(f"COLMAP failed ({last})", _REMEDY)


_REMEDY = "take colmap_sparse_points out of evaluate.metrics.names"
