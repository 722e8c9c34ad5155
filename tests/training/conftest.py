"""Rendered objects without Blender: boxes with coloured faces, ray-cast in numpy, laid out as the render stage does."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from PIL import Image
from tiny_modules import IMAGE_ENCODER
from train_support import PATIENCE, PROJECT, train_alone, train_command

from blender_render.protocols import cameras
from blender_render.rendered_object import write_cameras
from catalog.table import Asset, write_table
from geometry.cameras import Intrinsics, opencv_from_opengl
from stage.packs import object_folder
from stage.seeds import generator
from stage.workspace import Workspace
from training.data.writer import ShardParameters, write_shards

SIZE = 16


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _no_processes_from_before() -> None:
    """Settings of accelerate live as long as a process; each test makes them anew."""
    if state := sys.modules.get("accelerate.state"):
        state.AcceleratorState._reset_state(reset_partial_state=True)


def cast_box(c2w: np.ndarray, camera: Intrinsics, half: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """RGBA of an axis-aligned box around the origin, each of its six faces in its own colour."""
    axes = opencv_from_opengl(c2w)
    rows, columns = np.mgrid[: camera.height, : camera.width] + 0.5
    x, y = (columns - camera.cx) / camera.fx, (rows - camera.cy) / camera.fy
    rays = np.stack([x, y, np.ones_like(x)], axis=-1) @ axes[:3, :3].T
    with np.errstate(divide="ignore"):
        crossings = (np.stack([-half, half])[:, None, None] - axes[:3, 3]) / rays
    near, far = crossings.min(axis=0), crossings.max(axis=0)
    hit = near.max(axis=-1) < far.min(axis=-1)
    axis = near.argmax(axis=-1)
    positive = np.take_along_axis(rays, axis[..., None], axis=-1)[..., 0] < 0
    rgb = np.where(hit[..., None], colours[2 * axis + positive], 0)
    return np.concatenate([rgb, 255 * hit[..., None]], axis=-1).astype(np.uint8)


def render_box(folder: Path, uid: str, views: int) -> None:
    """One rendered object: pictures and cameras."""
    shape = generator(0, uid, "shape")
    half, colours = shape.uniform(0.2, 0.5, 3), shape.integers(0, 256, (6, 3))
    protocol = cameras("zero123", generator(0, uid, "cameras"), views, SIZE)
    folder.mkdir(parents=True)
    for number, view in enumerate(protocol):
        picture = cast_box(view.c2w, view.intrinsics, half, colours)
        Image.fromarray(picture).save(folder / f"{number:03d}.png")
        # The render stage's other pictures, which must not end up in shards.
        Image.fromarray(picture).save(folder / f"{number:03d}_normal.png")
    write_cameras(folder, protocol, ["normal"])


def _asset(uid: str, split: str) -> Asset:
    return Asset(
        uid=uid,
        source="folder",
        path=f"{uid}.glb",
        sha256=uid,
        companions_sha256="",
        bytes=1,
        file_type="glb",
        up_axis="Y",
        licence="CC0-1.0",
        author="",
        title=uid,
        tags=(),
        split=split,
        selected=True,
        reason="",
    )


RenderBoxes = Callable[..., Workspace]


@pytest.fixture(scope="session")
def render_boxes() -> RenderBoxes:
    """Make a workspace whose catalogue holds boxes, `train=4, val=1` of them, all rendered."""

    def rendered(root: Path, views: int = 4, **counts: int) -> Workspace:
        workspace = Workspace(root)
        assets = [
            _asset(f"{number:02d}{split}", split)
            for split, count in (counts or {"train": 4}).items()
            for number in range(count)
        ]
        for asset in assets:
            render_box(object_folder(workspace.scratch / "renders", asset.uid), asset.uid, views)
        write_table(workspace.catalog / "catalog.parquet", assets)
        workspace.renders.mkdir(parents=True)
        rows = [{"uid": asset.uid, "complete": True, "fingerprint": f"of {asset.uid}"} for asset in assets]
        pd.DataFrame(rows).to_parquet(workspace.renders / "objects.parquet")
        return workspace

    return rendered


@pytest.fixture(scope="session")
def sharded(render_boxes: RenderBoxes, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Shards of six training objects, two of val and one of test. Read only."""
    workspace = render_boxes(tmp_path_factory.mktemp("sharded") / "workspace", train=6, val=2, test=1)
    write_shards(ShardParameters(), workspace)
    return workspace


TRAIN: dict[str, Any] = {
    "steps": 12,
    "batch_size": 4,
    "checkpoint_every": 4,
    "log_every": 3,
    "zero123": {
        "unet": {"block_channels": [32, 32], "attention_heads": 2},
        "autoencoder": {"factor": 4, "scaling_factor": 0.3},
        "image_encoder": IMAGE_ENCODER,
    },
    "optimizer": {"learning_rate": 0.001, "warmup_steps": 4},
}

Trainable = Callable[..., Workspace]
Train = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture(scope="session")
def trainable_in(sharded: Workspace, empty_database: Path) -> Trainable:
    """Make a workspace in a folder, with shards and the parameters of a tiny training; keywords replace keys of `train`."""

    def made(folder: Path, **changes: Any) -> Workspace:
        workspace = Workspace(folder)
        shutil.copytree(sharded.shards, workspace.shards)
        workspace.mlflow.mkdir()
        shutil.copy(empty_database, workspace.mlflow / "mlflow.db")
        workspace.parameters.write_text(yaml.safe_dump({"seed": 7, "train": {**TRAIN, **changes}}))
        return workspace

    return made


@pytest.fixture
def trainable(trainable_in: Trainable, tmp_path: Path) -> Trainable:
    """Make a workspace for this test alone, as `trainable_in` does."""

    def made(name: str = "workspace", **changes: Any) -> Workspace:
        return trainable_in(tmp_path / name, **changes)

    return made


@pytest.fixture(scope="session")
def trained_once(
    trainable_in: Trainable, program_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Trainable:
    """The workspace of an undisturbed training, done once for all tests that give the same keywords. Read only."""
    done: dict[str, Workspace] = {}

    def workspace(**changes: Any) -> Workspace:
        key = json.dumps(changes, sort_keys=True)
        if key not in done:
            made = trainable_in(tmp_path_factory.mktemp("trained") / "workspace", **changes)
            train_alone(made, program_environment)
            done[key] = made
        return done[key]

    return workspace


@pytest.fixture(scope="session")
def tiny_train() -> dict[str, Any]:
    """The section `train` of a tiny training."""
    return TRAIN


@pytest.fixture
def start(program_environment: dict[str, str]) -> Iterator[Train]:
    """Starts `viewforge train`; whatever still runs when the test ends is killed."""
    started: list[subprocess.Popen[str]] = []

    def train(workspace: Workspace, **environment: str) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            train_command(workspace),
            cwd=PROJECT,
            env={**program_environment, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield train
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def finish(start: Train) -> Callable[..., str]:
    """Train to the end; standard error."""

    def finished(workspace: Workspace, **environment: str) -> str:
        process = start(workspace, **environment)
        _, errors = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, errors
        return errors

    return finished


@pytest.fixture
def refused(start: Train) -> Callable[..., str]:
    """Train in vain: the one line that says why."""

    def message(workspace: Workspace) -> str:
        process = start(workspace)
        _, errors = process.communicate(timeout=PATIENCE)
        assert process.returncode == 1
        assert "Traceback" not in errors
        lines = [line for line in errors.splitlines() if line.startswith("viewforge: ")]
        assert len(lines) == 1
        assert errors.splitlines()[-1] == lines[0]
        assert not workspace.model.exists()
        return lines[0]

    return message
