"""From a picture to files, without the page."""

import time

import numpy as np
import pytest
import torch
from demo_support import AlwaysPlates, finished, key, plates, visiting
from PIL import Image

from demo.jobs import JobState
from demo.meshes import can_become_mesh
from demo.wishes import Wish
from geometry.ply import read_ply
from stage.errors import InputError
from systems.pipelines import framing_of, load_pipeline
from systems.zero123.compositing import picture_tensor
from systems.zero123.conditioning import poses_from_degrees


@pytest.fixture
def visitor(studio, picture):
    return visiting(studio, "ann", picture)


def test_a_view_is_what_the_pipeline_makes_of_the_prepared_picture(studio, visitor, model):
    made = finished(studio.begin(visitor, key(studio), Wish(azimuth_deg=60, steps=3, guidance=2.0, seed=5)))
    shown = picture_tensor(visitor.prepared.picture, (16, 16))[None]
    own = load_pipeline(model)
    own.set_progress_bar_config(disable=True)
    options = {"num_inference_steps": 3, "guidance_scale": 2.0, "eta": 0.0}
    expected = own(shown, poses_from_degrees([60.0]), generator=torch.Generator().manual_seed(5), **options).images
    given = np.asarray(Image.open(made.picture)) / 255.0
    assert np.abs(given - expected[0].permute(1, 2, 0).numpy()).max() < 0.01
    assert made.video is None
    assert not can_become_mesh(made)
    assert "on the CPU" in made.memory


@pytest.mark.parametrize("fused", [True, False])
def test_a_turn_begins_with_the_picture_and_is_filmed(studio, visitor, fused):
    job = studio.begin(visitor, key(studio), Wish(around=True, views=4, steps=2, fused=fused))
    made = finished(job)
    row = np.asarray(Image.open(made.picture))
    assert row.shape == (16, 64, 3)
    assert row[8, 8, 0] > row[8, 8, 2] + 100
    assert made.video.read_bytes()[4:8] == b"ftyp"


def test_a_wished_sampler_is_not_the_next_visitors(studio, visitor):
    first = finished(studio.begin(visitor, key(studio), Wish(steps=3))).picture.read_bytes()
    other = finished(
        studio.begin(visitor, key(studio), Wish(steps=3, scheduler="euler_ancestral"))
    ).picture.read_bytes()
    again = finished(studio.begin(visitor, key(studio), Wish(steps=3))).picture.read_bytes()
    assert first == again != other


def test_cancel_frees_the_device_for_the_next_visitor(studio, visitor, picture):
    job = studio.begin(visitor, key(studio), Wish(around=True, views=36, steps=100))
    while job.done < 2:
        time.sleep(0.01)
    other = studio.visitors.of("bob")
    studio.accept(other, picture)
    studio.prepare(other, key(studio), "auto")
    second = studio.begin(other, key(studio), Wish(steps=1))
    assert studio.before(second) == 1
    job.cancel()
    finished(second)
    assert job.state == JobState.CANCELLED
    assert job.done < 3500
    # And the model serves its first visitor again.
    finished(studio.begin(visitor, key(studio), Wish(steps=1)))


def test_one_visitor_has_one_request_at_a_time(studio, visitor):
    job = studio.begin(visitor, key(studio), Wish(around=True, views=36, steps=100))
    with pytest.raises(InputError, match="your last request is not over"):
        studio.begin(visitor, key(studio), Wish())
    job.cancel()


def test_who_leaves_takes_his_request_and_files_along(studio, visitor):
    made = finished(studio.begin(visitor, key(studio), Wish(steps=1)))
    job = studio.begin(visitor, key(studio), Wish(around=True, views=36, steps=100))
    studio.visitors.leave("ann")
    assert job.wait(10)
    assert job.state == JobState.CANCELLED
    assert not made.picture.exists()
    assert len(studio.visitors) == 0


def test_a_refused_picture_does_not_leave_the_last_one_in_its_place(studio, visitor, tmp_path):
    (tmp_path / "notes.txt").write_text("nothing to see")
    with pytest.raises(InputError):
        studio.accept(visitor, tmp_path / "notes.txt")
    with pytest.raises(InputError, match="there is no picture yet"):
        studio.begin(visitor, key(studio), Wish())


@pytest.mark.parametrize("name", [None, "folder:/etc", "version:", "workspace/../.."])
def test_no_model_but_those_offered(studio, visitor, name):
    with pytest.raises(InputError):
        studio.begin(visitor, name, Wish())


def test_framing_is_known_without_the_weights(model):
    assert framing_of(model) == load_pipeline(model).framing == "zero123"


def test_gaussians_are_kept_in_our_frame_and_turned_for_viewers(studio, visitor, monkeypatch):
    always = AlwaysPlates()
    monkeypatch.setattr("demo.pipelines.load_pipeline", lambda _: always)
    made = finished(studio.begin(visitor, key(studio), Wish(azimuth_deg=0.0, steps=3)))
    kept, turned = read_ply(made.gaussians), read_ply(made.turned)
    assert np.allclose(np.sort(kept.means, axis=0), np.sort(plates().means, axis=0), atol=1e-4)
    assert np.allclose(turned.means, kept.means[:, [0, 2, 1]] * [1, -1, 1], atol=1e-5)
    middle = np.asarray(Image.open(made.picture))[32, 32]
    # The red plate is towards the picture's camera.
    assert middle[0] > 180
    assert middle[2] < 80
    assert can_become_mesh(made)


def test_a_cancelled_mesh_ends_its_processes(studio, visitor, monkeypatch):
    monkeypatch.setattr("demo.processes.tied", lambda _: ["sleep", "600"])
    monkeypatch.setattr("demo.pipelines.load_pipeline", lambda _: AlwaysPlates())
    finished(studio.begin(visitor, key(studio), Wish(steps=1)))
    job = studio.begin_mesh(visitor)
    while job.state == JobState.WAITING:
        time.sleep(0.01)
    job.cancel()
    assert job.wait(10)
    assert job.state == JobState.CANCELLED


def test_a_mesh_that_fails_says_why_in_a_line(studio, visitor, monkeypatch):
    monkeypatch.setattr("demo.processes.tied", lambda _: ["sh", "-c", "echo 'viewforge: no surface' >&2; exit 1"])
    monkeypatch.setattr("demo.pipelines.load_pipeline", lambda _: AlwaysPlates())
    made = finished(studio.begin(visitor, key(studio), Wish(steps=1)))
    job = studio.begin_mesh(visitor)
    assert job.wait(10)
    assert str(job.error).startswith("no mesh: no surface")
    assert made.gaussians.is_file()
