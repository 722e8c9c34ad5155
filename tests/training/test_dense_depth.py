"""Dense depth: an affine relation is found exactly, and transformers' networks load, or say why they cannot."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from estimator_support import depth_anything, midas, saved
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from transformers import AutoImageProcessor, DepthAnythingForDepthEstimation, DPTForDepthEstimation

from stage.errors import InputError
from training.data.dense_depth import FEWEST, TransformersEstimator, densified, estimator_identity

SIDE = 12


def sparse(depth: np.ndarray, count: int, seed: int = 0) -> np.ndarray:
    """Depth at so many pixels, 0 elsewhere."""
    kept = np.random.default_rng(seed).permutation(depth.size)[:count]
    known = np.zeros(depth.size)
    known[kept] = depth.ravel()[kept]
    return known.reshape(depth.shape)


def test_a_known_relation_is_found_exactly() -> None:
    # Inverse depth is 0.5 · disparity + 0.1: of the disparities 0, 1, 2 … the depths 10, 1/0.6, 1/1.1 …
    disparity = np.arange(36.0).reshape(6, 6)
    depth = 1 / (0.5 * disparity + 0.1)
    found = densified(disparity, sparse(depth, FEWEST), blend=False)
    assert found[0, :3] == pytest.approx([10.0, 1 / 0.6, 1 / 1.1], rel=1e-9)
    np.testing.assert_allclose(found, depth, rtol=1e-9)


@given(st.floats(0.01, 3.0), st.floats(0.01, 2.0), st.integers(0, 2**32 - 1))
def test_any_relation_is_found(factor: float, offset: float, seed: int) -> None:
    disparity = np.random.default_rng(seed).uniform(0.0, 4.0, (SIDE, SIDE))
    depth = 1 / (factor * disparity + offset)
    np.testing.assert_allclose(densified(disparity, sparse(depth, 40, seed), blend=False), depth, rtol=1e-6)


def test_the_slope_is_that_of_least_squares() -> None:
    # Inverse depths 1, 3, 2, 4 at the disparities 0, 1, 2, 3, four times each: by hand the line 1.3 + 0.8 x.
    disparity = np.tile([0.0, 1.0, 2.0, 3.0], (4, 1))
    depth = 1 / np.tile([1.0, 3.0, 2.0, 4.0], (4, 1))
    np.testing.assert_allclose(densified(disparity, depth, blend=False)[0], 1 / np.array([1.3, 2.1, 2.9, 3.7]))
    np.testing.assert_allclose(densified(disparity, depth), depth), "known depths stand for themselves"


def test_what_lies_beyond_is_clipped() -> None:
    disparity = np.linspace(0, 1, 144).reshape(SIDE, SIDE)
    depth = 1 / (disparity + 0.1)
    disparity[0, 0], disparity[0, 1] = -5.0, 1e9
    depth[0, :2] = 0.0
    assert densified(disparity, depth)[0, :2].tolist() == [1e3, 1e-3]


@pytest.mark.parametrize("unknown", [0.0, -1.0, np.nan, np.inf])
def test_unknown_depth_counts_for_nothing(unknown: float) -> None:
    disparity = np.random.default_rng(0).uniform(0.0, 4.0, (SIDE, SIDE))
    depth = 1 / (disparity + 0.5)
    holed = np.where(np.arange(144).reshape(SIDE, SIDE) % 3 == 0, depth, unknown)
    np.testing.assert_allclose(densified(disparity, holed), depth, rtol=1e-9)


def test_too_little_to_align_with_is_said() -> None:
    disparity = np.arange(36.0).reshape(6, 6)
    with pytest.raises(ValueError, match="15 pixels have depth, 16 are needed"):
        densified(disparity, sparse(np.ones((6, 6)), FEWEST - 1))
    for same in (3.0, np.nan):
        with pytest.raises(ValueError, match="is the same at all pixels"):
            densified(np.full((6, 6), same), np.ones((6, 6)))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Networks of both kinds, of random weights that the test itself saves: they prove the way, not the estimate."""
    root = tmp_path_factory.mktemp("estimators")
    torch.manual_seed(0)
    return {
        "depth_anything": saved(depth_anything(), root / "depth_anything", 28, 14),
        "dpt": saved(midas(), root / "dpt", 32, 8),
    }


@pytest.mark.parametrize("kind", ["depth_anything", "dpt"])
def test_a_saved_network_gives_its_own_disparity_at_the_picture_s_pixels(kind: str, folders: dict[str, Path]) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    estimator = TransformersEstimator(folders[kind])
    found = estimator.disparity(picture)
    assert found.shape == (20, 30)
    assert np.isfinite(found).all()
    # The same by hand: pixels to [−1, 1], the network, and its output enlarged; no sign is turned.
    model = {"depth_anything": DepthAnythingForDepthEstimation, "dpt": DPTForDepthEstimation}[kind]
    pixels = AutoImageProcessor.from_pretrained(folders[kind])(images=picture, return_tensors="pt")["pixel_values"]
    assert -1 <= float(pixels.min()) < 0 < float(pixels.max()) <= 1
    with torch.no_grad():
        raw = model.from_pretrained(folders[kind]).eval()(pixels).predicted_depth
    expected = torch.nn.functional.interpolate(raw[None], size=(20, 30), mode="bicubic", align_corners=False)[0, 0]
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-6)
    assert np.ptp(found) > 0


def test_its_identity_is_that_of_its_weights(folders: dict[str, Path], tmp_path: Path) -> None:
    first = estimator_identity(folders["dpt"])
    assert estimator_identity(shutil.copytree(folders["dpt"], tmp_path / "copy")) == first
    torch.manual_seed(1)
    assert estimator_identity(saved(midas(), tmp_path / "other", 32, 8)) != first


def without_a_weight(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights["head.conv1.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda folder: shutil.rmtree(folder), "there is no config.json"),
        (lambda folder: (folder / "model.safetensors").unlink(), "no file named model.safetensors"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"cut"), "Error while deserializing header"),
        (lambda folder: (folder / "preprocessor_config.json").unlink(), "preprocessor_config.json"),
        (without_a_weight, "1 weights are missing or do not fit, the first is head.conv1.weight"),
        (lambda folder: saved(depth_anything(depth_estimation_type="metric"), folder, 28, 14), "it estimates metric"),
    ],
)
def test_what_is_not_there_is_not_available(
    harm: object, words: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    folder = shutil.copytree(folders["depth_anything"], tmp_path / "weights")
    harm(folder)
    with pytest.raises(InputError) as caught:
        TransformersEstimator(folder)
    assert f"the depth estimator in {folder} is not available: " in str(caught.value)
    assert words in str(caught.value)
    assert "Depth-Anything model" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_networks_of_depth_are_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(folders["depth_anything"], tmp_path / "weights")
    configuration = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**configuration, "model_type": "glpn"}))
    with pytest.raises(InputError, match="a network of the kind glpn estimates no disparity"):
        TransformersEstimator(folder)


@pytest.mark.gpu
def test_a_gpu_sees_the_same(folders: dict[str, Path]) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    for folder in folders.values():
        expected = TransformersEstimator(folder).disparity(picture)
        np.testing.assert_allclose(TransformersEstimator(folder, "cuda").disparity(picture), expected, atol=1e-3)
