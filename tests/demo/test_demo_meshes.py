"""Meshes of what was made: which way, on which device, what people are told meanwhile, and how they end."""

import os
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from box_model import AlwaysTheBox
from demo_support import AlwaysPlates, finished, key, visiting
from PIL import Image

from demo.jobs import Job, JobState
from demo.meshes import can_become_mesh
from demo.processes import run
from demo.status import status_line
from demo.wishes import Wish
from reconstruction.view_folders import read_posed_views
from stage.errors import StageFailedError
from systems.pipelines import load_pipeline
from systems.viewfusion.pipeline import ViewFusionPipeline

_TURN = Wish(around=True, views=4, steps=1, fused=False)
_CPU = torch.device("cpu")
# What a stage of a command writes to its progress file.
_TELL = (
    "import json, os, pathlib, sys, time; told = open(os.environ['VIEWFORGE_PROGRESS'], 'a', 1);"
    "tell = lambda event, stage, done: told.write(json.dumps(dict(event=event, stage=stage, done=done, total=3)) + chr(10));"
)


class NotedJob(Job):
    """Remembers what people are told."""

    def __init__(self) -> None:
        super().__init__(60.0)
        self.notes: list[tuple[str, int]] = []

    def check(self) -> None:
        """Note what is told now."""
        if (self.note, self.done) not in self.notes:
            self.notes.append((self.note, self.done))
        super().check()


@pytest.fixture
def commands(monkeypatch):
    """Stand-ins for commands: Python that is given the command's own arguments; what they were."""
    given: list[list[str]] = []

    def stand_in(text: str) -> None:
        def tied(command):
            given.append(command[3:])
            return [sys.executable, "-c", _TELL + text, *command[3:]]

        monkeypatch.setattr("demo.processes.tied", tied)

    return stand_in, given


@pytest.fixture
def box_studio(studio, monkeypatch):
    monkeypatch.setattr("demo.pipelines.load_pipeline", lambda _: AlwaysTheBox())
    return studio


def running(job):
    deadline = time.monotonic() + 30.0
    while job.state == JobState.WAITING:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return job


def written(path: Path) -> str:
    """What a process writes into a file, once it is there."""
    deadline = time.monotonic() + 30.0
    while not (path.is_file() and (text := path.read_text())):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return text


def test_a_turn_is_kept_as_views_with_their_cameras(box_studio, picture):
    visitor = visiting(box_studio, "ann", picture)
    made = finished(box_studio.begin(visitor, key(box_studio), _TURN.model_copy(update={"elevation_deg": 20.0})))
    kept = read_posed_views(made.views)
    row = np.asarray(Image.open(made.picture)) / 255.0
    assert np.allclose(np.concatenate(list(kept.images.numpy()), axis=1), row, atol=1.5 / 255)
    positions = np.array([camera.c2w[:3, 3] for camera in kept.cameras]) / 1.5
    low, high = np.cos(np.deg2rad(20.0)), np.sin(np.deg2rad(20.0))
    assert np.allclose(positions, [[low, 0, high], [0, low, high], [-low, 0, high], [0, -low, high]], atol=1e-6)
    # The picture itself, a red square, is the first; behind it the box is blue.
    assert kept.images[2, 24, 24, 2] > 0.8
    assert can_become_mesh(made)


def test_the_cameras_of_a_turn_are_those_that_viewfusion_was_told(model):
    wish = Wish(views=5, elevation_deg=25.0)
    base = load_pipeline(model)
    base.set_progress_bar_config(disable=True)
    made = ViewFusionPipeline(base).orbit(torch.zeros(1, 3, 16, 16), wish.condition(16), 5, num_inference_steps=1)
    expected = [wish.condition(16), *wish.turn(16)]
    assert np.allclose(np.array(made.c2w), np.array([view.c2w for view in expected]), atol=1e-6)


def test_one_view_is_no_shape(box_studio, picture):
    made = finished(box_studio.begin(visiting(box_studio, "ann", picture), key(box_studio), Wish(steps=1)))
    assert made.wants_turn
    assert not can_become_mesh(made)


def test_a_mesh_of_views_is_the_small_reconstruction_of_them_on_the_visitors_device(box_studio, picture, commands):
    stand_in, given = commands
    stand_in(
        "out = pathlib.Path(sys.argv[sys.argv.index('--out') + 1]);"
        "[out.with_suffix(suffix).write_bytes(b'made') for suffix in ('.glb', '.ply', '.mp4')]"
    )
    visitor = visiting(box_studio, "ann", picture)
    made = finished(box_studio.begin(visitor, key(box_studio), _TURN))
    mesh = finished(job := box_studio.begin_mesh(visitor))
    assert given[0][:6] == ["reconstruct", str(made.views), "--method", "neus", "--small", "--steps"]
    assert given[0][given[0].index("--set") + 1] == "device=cpu"
    assert [path.name for path in (mesh.glb, *mesh.beside)] == ["model.glb", "model.ply", "model.mp4"]
    assert all(path.read_bytes() == b"made" for path in (mesh.glb, *mesh.beside))
    assert "on the CPU, 0." in status_line(job, 0)
    # All of it goes with the visitor.
    box_studio.visitors.leave("ann")
    assert not mesh.glb.exists()


def test_people_are_told_every_step_of_a_command(commands):
    stand_in, _ = commands
    stand_in(
        "tell('start', 'fit', 0); time.sleep(0.5); tell('advance', 'fit', 2); time.sleep(0.5);"
        "tell('advance', 'unknown', 9); told.write('{'); time.sleep(0.5);"
        'told.write(\'"event": "end", "stage": "fit", "done": 3, "total": 3}\' + chr(10)); time.sleep(0.5)'
    )
    job = NotedJob()
    memory = run(job, [], {"fit": "fitting", "": "baking"}, _CPU)
    assert job.notes == [("", 0), ("fitting", 0), ("fitting", 2), ("baking", 0)]
    assert memory.startswith("on the CPU, 0.")


def test_the_line_of_a_failed_command_tells_no_folder(box_studio, picture, commands):
    stand_in, _ = commands
    stand_in("folder = sys.argv[-1][:-10]; sys.exit(f'viewforge: the field in {folder} is empty; take other views')")
    visitor = visiting(box_studio, "ann", picture)
    finished(box_studio.begin(visitor, key(box_studio), _TURN))
    job = box_studio.begin_mesh(visitor)
    assert job.wait(30)
    assert isinstance(job.error, StageFailedError)
    assert str(job.error) == "no mesh: the field in its folder is empty; take other views"


def test_a_cancelled_mesh_ends_all_its_processes_and_the_device_takes_the_next(
    box_studio, picture, commands, tmp_path
):
    stand_in, _ = commands
    stand_in(
        "import subprocess; child = subprocess.Popen(['sleep', '600']);"
        f"pathlib.Path({str(tmp_path / 'child')!r}).write_text(str(child.pid)); child.wait()"
    )
    ann, bob = (visiting(box_studio, name, picture) for name in ("ann", "bob"))
    finished(box_studio.begin(ann, key(box_studio), _TURN))
    mesh = running(box_studio.begin_mesh(ann))
    child = int(written(tmp_path / "child"))
    waiting = box_studio.begin(bob, key(box_studio), Wish(steps=1))
    assert box_studio.before(waiting) == 1
    mesh.cancel()
    finished(waiting)
    assert mesh.state == JobState.CANCELLED
    assert not _runs(child)


def test_gaussians_become_a_mesh_beside_the_device(studio, picture, commands, monkeypatch):
    stand_in, given = commands
    stand_in("time.sleep(600)")
    monkeypatch.setattr("demo.pipelines.load_pipeline", lambda _: AlwaysPlates())
    ann, bob = (visiting(studio, name, picture) for name in ("ann", "bob"))
    made = finished(studio.begin(ann, key(studio), Wish(steps=1)))
    mesh = running(studio.begin_mesh(ann))
    finished(studio.begin(bob, key(studio), Wish(steps=1)))
    assert not mesh.is_over
    assert given[0][:3] == ["splatter", "mesh", str(made.gaussians)]
    mesh.cancel()
    assert mesh.wait(10)


def _runs(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        os.kill(pid, 0)
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (ProcessLookupError, FileNotFoundError):
        return False
