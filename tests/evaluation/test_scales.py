"""The scale of an object under the protocol, by hand."""

from pathlib import Path

import numpy as np
import pytest

from blender_render.camera_sets import View
from blender_render.passes import save_depth
from catalog.table import read_table
from evaluation.protocol import ObjectViews
from evaluation.scales import measured, object_scale
from geometry.cameras import Intrinsics, look_at_origin
from stage.errors import InputError
from stage.workspace import Workspace
from systems.zero123.modules import build_modules
from systems.zero123.parameters import (
    AutoencoderParameters,
    ImageEncoderParameters,
    UNetParameters,
    Zero123Parameters,
)
from systems.zeronvs.pipeline import ZeroNvsPipeline


def pipeline(mode: str) -> ZeroNvsPipeline:
    parameters = Zero123Parameters(
        unet=UNetParameters(block_channels=(32, 32), attention_heads=2),
        autoencoder=AutoencoderParameters(factor=4),
        image_encoder=ImageEncoderParameters(image_size=16, hidden_size=16, layers=1, heads=2, embedding_dim=16),
    )
    m = build_modules(parameters, 0, 19)
    return ZeroNvsPipeline(m.unet, m.cc_projection, m.image_encoder, m.vae, m.scheduler, mode)


@pytest.fixture
def views(workspace: Workspace, tmp_path: Path) -> ObjectViews:
    """Four cameras on a ring of radius 2 about the axis; the depth of view n is 1 + n where the object is, and 0 beside it."""
    cameras = [View(look_at_origin(np.pi / 2, n * np.pi / 2, 2.0), Intrinsics.from_fov(0.9, 16)) for n in range(4)]
    for number in range(4):
        depth = np.zeros((16, 16), np.float32)
        depth[4:12, 4:12] = 1.0 + number
        save_depth(tmp_path / f"{number:03d}_depth.png", depth)
    asset = read_table(workspace.catalog / "catalog.parquet")[0]
    return ObjectViews(asset, np.ones((4, 16, 16, 3), np.float32), tuple(cameras), tmp_path)


def test_each_mode_divides_by_what_it_was_trained_with(views: ObjectViews) -> None:
    assert object_scale(pipeline("7dof"), views, None) == pytest.approx(2.0)
    # The input's depth alone, without the background.
    assert object_scale(pipeline("7dof_quantile_scale"), views, None) == pytest.approx(1.0, abs=1e-4)
    # The 10 % quantile of 1, 2, 3, 4.
    assert object_scale(pipeline("7dof_stereomag_scale"), views, None) == pytest.approx(1.3, abs=1e-4)
    assert object_scale(pipeline("7dof_unscaled"), views, None) is None
    assert object_scale(pipeline("7dof"), views, 0.7) == 0.7


def test_an_input_without_depth_is_named(views: ObjectViews) -> None:
    assert views.folder is not None
    save_depth(views.folder / "000_depth.png", np.zeros((16, 16), np.float32))
    with pytest.raises(InputError, match=r"object a1 has no depth_quantile under the protocol; set evaluate\.scale"):
        object_scale(pipeline("7dof_quantile_scale"), views, None)
    (views.folder / "000_depth.png").unlink()
    with pytest.raises(InputError, match="object a1 has no depth of view 0"):
        measured(views, "depth_quantile")
