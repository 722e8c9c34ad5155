"""A workspace with a real catalogue table, shards written by the project's own writer, and a made-up evaluation."""

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from evaluation_support import asset, object_scores
from PIL import Image

from blender_render.camera_sets import View
from blender_render.rendered_object import write_cameras
from catalog.table import write_table
from evaluation.metrics.metric_set import MetricSet
from evaluation.metrics.parameters import MetricParameters
from evaluation.scores import intervals, per_object_table, per_view_table, summary
from geometry.cameras import Intrinsics, look_at_origin
from stage.files import write_json
from stage.packs import object_folder, write_packs
from stage.workspace import Workspace
from training.data.writer import ShardParameters, write_shards

SIZE, VIEWS = 16, 3


def render(workspace: Workspace, uid: str) -> np.ndarray:
    """Random pictures with alpha in the layout of rendered objects."""
    folder = object_folder(workspace.scratch / "renders", uid)
    folder.mkdir(parents=True)
    pictures = np.random.default_rng(int(uid, 16)).integers(0, 256, (VIEWS, SIZE, SIZE, 4), dtype=np.uint8)
    for number, picture in enumerate(pictures):
        Image.fromarray(picture).save(folder / f"{number:03d}.png")
    lens = Intrinsics.from_fov(0.8, SIZE)
    write_cameras(folder, [View(look_at_origin(1.0, 0.5 * number, 1.6), lens) for number in range(VIEWS)], [])
    return pictures


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """Three training objects and one test object, catalogued and in shards."""
    workspace = Workspace(tmp_path)
    assets = [asset("a1", "train"), asset("a2", "train"), asset("a3", "train"), asset("b1", "test")]
    write_table(workspace.catalog / "catalog.parquet", assets)
    for item in assets:
        render(workspace, item.uid)
    write_packs(workspace.scratch / "renders", [a.uid for a in assets], workspace.renders, 1)
    rows = [
        {
            "uid": a.uid,
            "title": a.title,
            "complete": True,
            "fingerprint": "f",
            "failure": "",
            "message": "",
            "warnings": "",
        }
        for a in assets
    ]
    pd.DataFrame(rows).to_parquet(workspace.renders / "objects.parquet")
    write_shards(ShardParameters(), workspace)
    return workspace


@pytest.fixture
def evaluated(workspace: Workspace) -> Workspace:
    """The workspace with an evaluation whose figures are known: unseen 18 against 16 and 19, training 22 against 16 and 17."""
    unseen = [object_scores("b1", "unseen", 16.0, 17.0, 19.0), object_scores("b2", "unseen", 20.0, 15.0, 19.0)]
    training = [object_scores("a1", "training", 22.0, 16.0, 17.0)]
    folder = workspace.evaluation
    folder.mkdir(parents=True)
    asked = MetricSet.of(MetricParameters())
    metrics = {
        "protocol": "syncdreamer",
        "source": "heldout",
        "objects": 3,
        "views": 16,
        "data_sha256": "0123456789abcdef",
        "unseen": summary(unseen, asked.names),
        "training": summary(training, asked.names),
        "intervals": {"unseen": intervals(unseen, asked.names), "training": intervals(training, asked.names)},
        "unseen_objects": 2,
        "training_objects": 1,
        "unavailable": {"lpips": "the package lpips is not installed", "autoencoder": "no model was given"},
    }
    problem = {
        "stage": "evaluate, unseen",
        "uid": "c1",
        "title": "broken",
        "consequence": "quarantined",
        "what": "parse: no <glTF>",
    }
    settings = {
        "eta": 0.0,
        "guidance_scale": 1.0,
        "inference_steps": 20,
        "resolution": SIZE,
        "scheduler": "DDIMScheduler",
    }
    definitions = [asdict(definition) for definition in asked.definitions]
    details = {
        "settings": settings,
        "metrics": definitions,
        "problems": [problem],
        "gallery_objects": {"unseen": 2, "training": 1},
    }
    write_json(folder / "metrics.json", metrics)
    write_json(folder / "details.json", details)
    per_object_table([*unseen, *training]).to_parquet(folder / "per_object.parquet", index=False)
    per_view_table([*unseen, *training]).to_parquet(folder / "per_view.parquet", index=False)
    for name in ("contact_sheet", "gallery_unseen", "gallery_training"):
        Image.new("RGB", (4, 4), (255, 0, 0)).save(folder / f"{name}.png")
    return workspace
