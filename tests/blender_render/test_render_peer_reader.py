"""Zero-1-to-3's own reading of a rendering folder, written again from what is known of it, reads ours unchanged.

Facts: `systems.md` 1.2 and 0; cvlab-columbia/zero123 `ldm/data/simple.py` (`load_im`, `cartesian_to_spherical`, `get_T`).
Nothing here uses the project's geometry, so that an error there would show.
"""

import json
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from render_support import SMALL, Rendered

from blender_render.rendered_object import read_views
from systems.zero123.conditioning import relative_pose


class PeerReader:
    """A rendering folder as Zero-1-to-3's dataset sees it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.paths = json.loads((root / "valid_paths.json").read_text())

    def picture(self, item: int, view: int) -> np.ndarray:
        """RGB in [−1, 1], white where alpha is exactly 0 and raw colours elsewhere."""
        with Image.open(self.root / self.paths[item] / f"{view:03d}.png") as image:
            pixels = np.asarray(image) / 255.0
        assert pixels.shape[-1] == 4
        pixels = np.where(pixels[..., 3:] == 0.0, 1.0, pixels)
        return pixels[..., :3] * 2 - 1

    def camera(self, item: int, view: int) -> np.ndarray:
        """The 3×4 matrix RT."""
        return np.load(self.root / self.paths[item] / f"{view:03d}.npy")

    def pose(self, item: int, target: int, condition: int) -> np.ndarray:
        """T = [Δθ, sin Δφ, cos Δφ, Δr] of two camera files."""
        theta_t, phi_t, r_t = self._spherical(self.camera(item, target))
        theta_c, phi_c, r_c = self._spherical(self.camera(item, condition))
        turn = (phi_t - phi_c) % (2 * np.pi)
        return np.array([theta_t - theta_c, np.sin(turn), np.cos(turn), r_t - r_c])

    @staticmethod
    def _spherical(matrix: np.ndarray) -> tuple[float, float, float]:
        rotation, translation = matrix[:3, :3], matrix[:, -1]
        x, y, z = -rotation.T @ translation
        return np.arctan2(np.sqrt(x * x + y * y), z), np.arctan2(y, x), np.sqrt(x * x + y * y + z * z)


@pytest.fixture(scope="module")
def reader(procedural: Rendered) -> PeerReader:
    """The peer's reader over our renderings."""
    return PeerReader(procedural.root)


def test_it_finds_every_object_and_view(reader: PeerReader) -> None:
    assert len(reader.paths) == 3
    for item in range(3):
        for view in range(SMALL.views):
            assert reader.picture(item, view).shape == (32, 32, 3)
            assert reader.camera(item, view).shape == (3, 4)


def test_the_pose_that_it_computes_is_the_one_that_our_models_are_given(reader: PeerReader) -> None:
    for item, path in enumerate(reader.paths):
        ours = [view.c2w for view in read_views(reader.root / path)]
        for target, condition in permutations(range(SMALL.views), 2):
            np.testing.assert_allclose(
                reader.pose(item, target, condition), relative_pose(ours[target], ours[condition]), atol=1e-6
            )


def test_its_cameras_stand_in_the_published_shell_and_look_at_the_origin(reader: PeerReader) -> None:
    for item in range(3):
        for view in range(SMALL.views):
            matrix = reader.camera(item, view)
            centre = -matrix[:, :3].T @ matrix[:, 3]
            assert 1.5 <= np.linalg.norm(centre) <= 2.2
            # In camera axes the origin lies straight ahead, along −z.
            np.testing.assert_allclose(matrix[:, 3], [0, 0, -np.linalg.norm(centre)], atol=1e-6)
            assert np.linalg.det(matrix[:, :3]) == pytest.approx(1)


def test_its_pictures_stand_on_white(reader: PeerReader) -> None:
    for item in range(3):
        for view in range(SMALL.views):
            picture = reader.picture(item, view)
            corners = picture[[0, 0, -1, -1], [0, -1, 0, -1]]
            np.testing.assert_array_equal(corners, 1.0)
            assert picture.min() < 0.5


def test_the_edge_colours_that_it_shows_raw_are_the_objects_own(procedural: Rendered, reader: PeerReader) -> None:
    """It does not blend partly transparent pixels, so straight alpha must leave no dark or light rim there."""
    for item in range(3):
        for view in range(SMALL.views):
            with Image.open(reader.root / reader.paths[item] / f"{view:03d}.png") as image:
                pixels = np.asarray(image) / 255.0
            edge = (pixels[..., 3] > 0.1) & (pixels[..., 3] < 0.9)
            inside = pixels[..., 3] > 0.99
            if edge.sum() > 10:
                assert abs(pixels[edge][:, :3].mean() - pixels[inside][:, :3].mean()) < 0.25
