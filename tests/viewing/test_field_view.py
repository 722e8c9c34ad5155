"""A film and a sheet of a field: as many pictures as asked for, in their order, legible even where they are small."""

from pathlib import Path

import av
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from blender_render.camera_sets import View
from viewing.field_view import write_field_view


def direction(camera: View) -> Tensor:
    """The whole picture tells where its camera is: red towards +X, green above."""
    lens = camera.intrinsics
    x, _, z = camera.c2w[:3, 3] / np.linalg.norm(camera.c2w[:3, 3])
    colour = torch.tensor([0.5 + 0.5 * x, 0.5 + 0.5 * z, 0.0])
    return colour[:, None, None].expand(3, lens.height, lens.width).float()


def test_a_turn_and_a_sheet(tmp_path: Path) -> None:
    write_field_view(tmp_path / "a.mp4", tmp_path / "a.png", direction, 4, 16)
    with av.open(str(tmp_path / "a.mp4")) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(frames) == 4
    reds = [frame[..., 0].mean() for frame in frames]
    assert reds[0] > 220 > reds[1] > 40 > reds[2]
    sheet = np.asarray(Image.open(tmp_path / "a.png").convert("RGB")).astype(int)
    assert sheet.shape[0] > 3 * 128
    assert sheet.shape[1] > 4 * 128
    # From below, about level and from above.
    below, level, above = (sheet[row * 130 + 100, 100, 1] for row in range(3))
    assert below < level < above
    assert sheet[100, 100, 0] > 230 > 40 > sheet[100, 2 * 130 + 100, 0]
