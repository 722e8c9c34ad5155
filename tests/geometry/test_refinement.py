"""Refinement on the analytic sphere: it helps, stays on the grid, stops, resumes to the bit, and never makes things worse."""

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from geometry.cameras import Intrinsics, look_at_origin, project
from geometry.gaussian_tensors import GaussianTensors
from geometry.gaussians import Gaussians, concatenate
from geometry.picture_losses import on_background, psnr
from geometry.pixel_grid import PixelGrid
from geometry.rasterizer import rasterize
from geometry.refinement import Pictures, Refinement, advance
from geometry.refinement_settings import LearningRates, RefinementSettings
from geometry.splatter import splatter_from_passes
from stage.errors import InputError

SIZE = 16
LENS = Intrinsics.from_fov(np.radians(49.1), SIZE)
STILL = LearningRates(depths=0, shifts=0, quaternions=0, scales=0, opacities=0, colours=0)
WILD = LearningRates(depths=50, shifts=50, quaternions=50, scales=50, opacities=50, colours=50)
QUICK = RefinementSettings(steps=12, batch_views=2, validation_views=2, validate_every=4)


# What ray-casts the sphere from θ, φ and r at a size in pixels; conftest.py has it.
Cast = Callable[..., Any]


def angles(count: int, start: float) -> list[tuple[float, float]]:
    """Directions spread around the sphere."""
    return [(float(np.arccos(0.8 - 1.6 * n / count)), start + 2.4 * n) for n in range(count)]


def sphere_pictures(cast: Cast, count: int, start: float) -> Pictures:
    """Antialiased pictures: four times the size, averaged."""
    rgba, cameras = [], []
    for polar, azimuth in angles(count, start):
        passes = cast(polar, azimuth, 1.6, 4 * SIZE)
        premultiplied = np.concatenate([passes.rgb, passes.mask[..., None]], axis=-1)
        small = premultiplied.reshape(SIZE, 4, SIZE, 4, 4).mean(axis=(1, 3))
        rgba.append(np.concatenate([small[..., :3] / np.maximum(small[..., 3:], 1e-6), small[..., 3:]], axis=-1))
        cameras.append(passes.c2w)
    return Pictures(torch.tensor(np.stack(rgba), dtype=torch.float32), np.stack(cameras), (LENS,) * count)


def sphere_views(cast: Cast) -> tuple[np.ndarray, list[Intrinsics]]:
    """The cameras of the grid."""
    return np.stack([cast(polar, azimuth, 1.6, SIZE).c2w for polar, azimuth in angles(4, 0.3)]), [LENS] * 4


def sphere_grid(cast: Cast) -> PixelGrid:
    """The closed form of four views of the sphere."""
    passes = [cast(polar, azimuth, 1.6, SIZE) for polar, azimuth in angles(4, 0.3)]
    views = [splatter_from_passes(p.rgb, p.position, p.depth, p.normal, p.c2w, p.intrinsics).gaussians for p in passes]
    return PixelGrid.of(views, *sphere_views(cast))


@pytest.fixture(scope="module")
def grid(sphere_passes) -> PixelGrid:
    return sphere_grid(sphere_passes)


@pytest.fixture(scope="module")
def pictures(sphere_passes) -> Pictures:
    return sphere_pictures(sphere_passes, 8, 1.0)


@pytest.fixture(scope="module")
def unseen_psnr(sphere_passes) -> Callable[[GaussianTensors], float]:
    """PSNR from cameras of which no test learns."""
    unseen = sphere_pictures(sphere_passes, 5, 2.2)

    def score(gaussians: GaussianTensors) -> float:
        with torch.no_grad():
            made = rasterize(gaussians, unseen.c2w, unseen.intrinsics).rgb
        return float(psnr(made, on_background(unseen.rgba, torch.ones(5, 3))).mean())

    return score


@pytest.fixture
def sphere(grid, pictures) -> Callable[..., Refinement]:
    """A refinement of the sphere that has not begun."""

    def refinement(uid: str = "sphere", **changes) -> Refinement:
        return Refinement(grid, pictures, QUICK.model_copy(update=changes), 0, uid)

    return refinement


def run(refinements: Sequence[Refinement], steps: int = 1000) -> None:
    for _ in range(steps):
        advance(refinements)


def assert_equal(one: Sequence[Gaussians], other: Sequence[Gaussians]) -> None:
    for a, b in zip(one, other, strict=True):
        for name in ("means", "quaternions", "scales", "opacities", "colours"):
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


def refined(refinement: Refinement) -> list[Gaussians]:
    images = refinement.splatter_images()
    assert images is not None
    return images


def test_the_loss_falls_and_unseen_views_gain(grid, sphere, unseen_psnr):
    refinement = sphere(steps=60, validate_every=20)
    before = float(refinement.loss().detach())
    run([refinement])
    assert refinement.course.stopped == "steps"
    assert float(refinement.loss().detach()) < 0.6 * before
    images = refined(refinement)
    gain = unseen_psnr(GaussianTensors.of(concatenate(images))) - unseen_psnr(grid.gaussians(grid.start))
    assert gain > 2.0


def test_every_gaussian_stays_in_its_pixel(grid, sphere):
    refinement = sphere()
    run([refinement])
    rows, columns = np.mgrid[:SIZE, :SIZE].reshape(2, -1) + 0.5
    centres = np.stack([columns, rows], axis=1)
    for image, (polar, azimuth), shown in zip(refined(refinement), angles(4, 0.3), grid.taking_part, strict=True):
        seen, depth = project(image.means, look_at_origin(polar, azimuth, 1.6), LENS)
        assert np.abs(seen - centres).max() < 0.5
        assert (depth > 0).all()
        np.testing.assert_array_equal(image.opacities == 0, ~shown)


def test_the_same_seed_gives_the_same_bits_and_another_uid_another_course(sphere):
    one, same, other = sphere(), sphere(), sphere("another")
    for refinement in (one, same, other):
        run([refinement])
    assert one.course == same.course
    assert_equal(refined(one), refined(same))
    assert one.course.best_score != other.course.best_score


def test_a_batch_gives_each_object_what_it_gets_alone(sphere):
    alone = [sphere("one"), sphere("two", steps=6)]
    together = [sphere("one"), sphere("two", steps=6)]
    for refinement in alone:
        run([refinement])
    run(together)
    for a, b in zip(alone, together, strict=True):
        assert a.course == b.course
        assert_equal(refined(a), refined(b))


@pytest.mark.parametrize("interrupted", [0, 3, 6, 12])
def test_a_resumed_refinement_equals_one_undisturbed(sphere, tmp_path, interrupted):
    whole, first, second = sphere(), sphere(), sphere()
    run([whole])
    run([first], interrupted)
    first.save(tmp_path / "state", "fingerprint")
    assert second.resume(tmp_path / "state", "fingerprint")
    assert second.course == first.course
    run([second])
    assert second.course == whole.course
    assert_equal(refined(second), refined(whole))


def test_a_state_of_other_settings_is_not_resumed(sphere, tmp_path):
    first, second = sphere(), sphere()
    assert not second.resume(tmp_path / "state", "fingerprint")
    run([first], 4)
    first.save(tmp_path / "state", "fingerprint")
    assert not second.resume(tmp_path / "state", "another")
    assert second.course.step == 0


def test_it_stops_when_nothing_is_gained_and_keeps_the_closed_form(sphere):
    refinement = sphere(steps=1000, learning_rates=STILL, patience=3)
    run([refinement], 20)
    assert refinement.course.stopped == "no further gain"
    assert refinement.course.step == 12
    assert refinement.course.best_score == refinement.course.start_score
    assert refinement.splatter_images() is None


def test_steps_that_ruin_the_object_are_not_kept(sphere):
    refinement = sphere(learning_rates=WILD)
    run([refinement])
    assert refinement.course.best_step == 0
    assert refinement.splatter_images() is None


def test_a_ruined_end_gives_the_best_state_back(sphere):
    refinement, short = sphere(steps=16, patience=9), sphere(steps=16, patience=9)
    run([refinement], 8)
    run([short], 8)
    kept, score = refined(short), short.course.best_score
    refinement._values["colours"].data.zero_()
    refinement._values["opacities"].data.fill_(-5.0)
    run([refinement])
    assert refinement.course.stopped == "steps"
    assert (refinement.course.best_score, refinement.course.best_step) == (score, 8)
    assert_equal(refined(refinement), kept)


def test_what_is_published_without_refinement_must_be_beaten(grid, pictures, sphere):
    good = sphere(steps=40)
    run([good])
    published = GaussianTensors.of(concatenate(refined(good)))
    refinement = Refinement(grid, pictures, QUICK.model_copy(update={"steps": 4}), 0, "sphere", published)
    run([refinement])
    assert refinement.course.start_score > good.course.start_score
    assert refinement.splatter_images() is None


def test_no_number_stops_it_and_the_best_state_is_kept(sphere, pictures):
    refinement, healthy = sphere(), sphere()
    run([refinement, healthy], 4)
    best = refined(refinement)
    broken = pictures.select(range(6))
    broken.rgba[:, 8, 8] = float("nan")
    refinement._learned = broken
    run([refinement, healthy])
    assert refinement.course.stopped == "diverged"
    assert refinement.course.step == 4
    assert_equal(refined(refinement), best)
    assert healthy.course.stopped == "steps"


def test_pictures_to_learn_from_are_needed(grid, pictures):
    with pytest.raises(InputError, match="of 2 pictures 2 are for validation, none to learn from; raise"):
        Refinement(grid, pictures.select([0, 1]), QUICK, 0, "sphere")


def test_pictures_hold_the_window_of_ssim(grid, pictures):
    small = Pictures(pictures.rgba[:, :10, :10], pictures.c2w, pictures.intrinsics)
    with pytest.raises(InputError, match="sphere: pictures of 10 pixels, where SSIM needs 11 or more; raise"):
        Refinement(grid, small, QUICK, 0, "sphere")


@pytest.mark.gpu
def test_a_batch_is_refined_on_a_gpu(sphere_passes, unseen_psnr):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA GPU")
    pytest.importorskip("gsplat")
    start = sphere_grid(sphere_passes)
    grid = PixelGrid.of(start.views, *sphere_views(sphere_passes), device="cuda")
    on_cpu = sphere_pictures(sphere_passes, 8, 1.0)
    pictures = Pictures(on_cpu.rgba.cuda(), on_cpu.c2w, on_cpu.intrinsics)
    settings = QUICK.model_copy(update={"steps": 60, "validate_every": 20})
    batch = [Refinement(grid, pictures, settings, 0, uid) for uid in ("one", "two")]
    run(batch)
    for refinement in batch:
        after = unseen_psnr(GaussianTensors.of(concatenate(refined(refinement))))
        assert after - unseen_psnr(start.gaussians(start.start)) > 2.0


_PROGRAM = """
import sys, time
from pathlib import Path
from typing import Any
import numpy as np
import test_refinement as t
from conftest import cast_sphere
from geometry.cameras import Intrinsics, look_at_origin
state, pause = Path(sys.argv[1]), float(sys.argv[2])
def cast(polar, azimuth, radius, size):
    return cast_sphere(look_at_origin(polar, azimuth, radius), Intrinsics.from_fov(np.radians(49.1), size))
refinement = t.Refinement(t.sphere_grid(cast), t.sphere_pictures(cast, 8, 1.0), t.QUICK, 0, "sphere")
refinement.resume(state, "fingerprint")
print("from", refinement.course.step, flush=True)
while not refinement.course.stopped:
    t.advance([refinement])
    if refinement.course.step % 3 == 0:
        refinement.save(state, "fingerprint")
        time.sleep(pause)
np.save(sys.argv[3], t.concatenate(refinement.splatter_images()).means)
"""


@pytest.mark.slow
def test_a_killed_process_goes_on_where_it_was(tmp_path: Path):
    def start(name: str, state: str, pause: float) -> "subprocess.Popen[str]":
        arguments = [str(tmp_path / state), str(pause), str(tmp_path / name)]
        return subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, *arguments], cwd=Path(__file__).parent, stdout=subprocess.PIPE, text=True
        )

    assert start("whole.npy", "undisturbed", 0.0).wait() == 0
    killed = start("killed.npy", "state", 5.0)
    while not (tmp_path / "state").exists():
        assert killed.poll() is None
        time.sleep(0.05)
    killed.kill()
    killed.wait()
    resumed = start("resumed.npy", "state", 0.0)
    said, _ = resumed.communicate()
    assert said.startswith("from 3")
    np.testing.assert_array_equal(np.load(tmp_path / "resumed.npy"), np.load(tmp_path / "whole.npy"))
