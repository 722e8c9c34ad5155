"""Our renders and splatter images, and Zero-1-to-G's published layout, through the same shards, reader and loader."""

import subprocess
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from published_zero_1_to_g import SIDE, SIZE, VIEWS, picture, protocol, splatters, union, write_scene

from blender_render.camera_sets import View
from blender_render.protocols import cameras
from blender_render.rendered_object import write_cameras
from blender_render.splatter_files import write_splatter_files
from catalog.table import Asset, write_table
from stage.errors import InputError
from stage.files import write_json
from stage.packs import object_folder, write_packs
from stage.seeds import generator
from stage.workspace import Workspace
from systems.trainable import Views
from training.data.batches import ViewChoice
from training.data.importers.published import open_published
from training.data.importers.workspace_import import import_set
from training.data.loader import PlannedLoader
from training.data.mixture import Mixed
from training.data.plan import Plan
from training.data.reader import ShardReader
from training.data.shard_parameters import ShardParameters
from training.data.writer import write_shards
from training.data.zero_1_to_g_export import export_zero_1_to_g

UIDS = {"aa11": 1, "bb22": 2}


def asset(uid: str) -> Asset:
    texts = dict.fromkeys(("path", "companions_sha256", "up_axis", "author", "reason"), "")
    known = {"uid": uid, "source": "folder", "sha256": uid, "file_type": "glb", "licence": "CC0-1.0", "title": uid}
    return Asset(**texts, **known, bytes=1, tags=(), split="train", selected=True)


def placed(seed: int) -> list[View]:
    return [View(view.c2w, view.intrinsics.resized(SIDE, SIDE)) for view in protocol(seed)[1:7]]


def write_splatter_object(root: Path, uid: str, seed: int, views: list[View]) -> None:
    folder, images = object_folder(root, uid), splatters(seed)
    folder.mkdir(parents=True)
    write_splatter_files(folder, images, union(images), views)
    write_cameras(folder, views, [])
    write_json(folder / "record.json", {"fingerprint": f"splatter of {uid}"})


@pytest.fixture
def ours(tmp_path: Path) -> Workspace:
    """What the stages catalog, render and splatter leave, of the protocol `zero_1_to_g_training`; bare has no splatter images."""
    place = Workspace(tmp_path / "ours")
    for uid, seed in {**UIDS, "bare": 3}.items():
        folder = object_folder(place.scratch / "renders", uid)
        folder.mkdir(parents=True)
        for number, view in enumerate(protocol(seed)):
            picture(view, seed).save(folder / f"{number:03d}.png")
        write_cameras(folder, protocol(seed), [])
    write_table(place.catalog / "catalog.parquet", [asset(uid) for uid in (*UIDS, "bare")])
    write_packs(place.scratch / "renders", [*UIDS, "bare"], place.renders, 1)
    rows = [{"uid": uid, "complete": True, "fingerprint": f"of {uid}"} for uid in (*UIDS, "bare")]
    pd.DataFrame(rows).to_parquet(place.renders / "objects.parquet")
    for uid, seed in UIDS.items():
        write_splatter_object(place.scratch / "splatters", uid, seed, placed(seed))
    write_packs(place.scratch / "splatters", list(UIDS), place.splatters, 1)
    pd.DataFrame({"uid": list(UIDS), "failure": ""}).to_parquet(place.splatters / "splatters.parquet")
    return place


def imported(root: Path, renderings: Path, images: Path) -> Workspace:
    place = Workspace(root)
    results = import_set(open_published("zero_1_to_g", renderings, VIEWS, images), place, workers=1)
    assert not any(each.failure for each in results)
    return place


def batch_of(place: Workspace) -> Views:
    """Both objects, each with two random views and the input, as a training on splatter images is given them."""
    write_shards(ShardParameters(include=("splatter",)), place)
    reader = ShardReader(place.shards, "train", splatters=True)
    assert sorted(row.key for row in reader.rows) == sorted(UIDS)
    loader = PlannedLoader(Plan((Mixed("objects", 2),), 2, 0), {"objects": reader}, ViewChoice(drawn=2, last=(0,)))
    return next(iter(loader)).part(slice(None), torch.device("cpu"))


def test_both_give_the_same_batch(ours: Workspace, tmp_path: Path) -> None:
    """The same objects from the same views: so not the format alone but the numbers as well."""
    for uid, seed in UIDS.items():
        write_scene(tmp_path, uid, seed, azimuth=70.0 * seed)
    published = imported(tmp_path / "theirs", tmp_path / "renderings", tmp_path / "splatters")
    first, second = batch_of(ours), batch_of(published)
    assert (first.uids, first.numbers.tolist()) == (second.uids, second.numbers.tolist())
    for field in fields(Views):
        one, other = getattr(first, field.name), getattr(second, field.name)
        assert type(one) is type(other), field.name
        if isinstance(one, torch.Tensor):
            assert (one.shape, one.dtype) == (other.shape, other.dtype), field.name
    assert first.rgba.shape == (2, 3, SIZE, SIZE, 4)
    torch.testing.assert_close(first.rgba, second.rgba)
    torch.testing.assert_close(first.c2w, second.c2w, atol=1e-6, rtol=0)
    torch.testing.assert_close(first.intrinsics, second.intrinsics, atol=1e-4, rtol=0)
    assert first.splatters is not None
    assert second.splatters is not None
    assert first.splatters.channels.shape == (2, 6, 14, SIDE, SIDE)
    assert first.splatters.channels.dtype == second.splatters.channels.dtype == torch.float16
    torch.testing.assert_close(first.splatters.c2w, second.splatters.c2w, atol=1e-6, rtol=0)
    torch.testing.assert_close(first.splatters.intrinsics, second.splatters.intrinsics, atol=1e-4, rtol=0)
    # A step of float16 below 1; quaternions may come back with the other sign.
    channels, others = first.splatters.channels.float(), second.splatters.channels.float()
    plain = [*range(7), *range(11, 14)]
    torch.testing.assert_close(channels[:, :, plain], others[:, :, plain], atol=2e-3, rtol=2e-3)
    alike = (channels[:, :, 7:11] * others[:, :, 7:11]).sum(2).abs()
    torch.testing.assert_close(alike, torch.ones_like(alike), atol=5e-3, rtol=0)


def test_what_is_exported_is_what_is_imported(ours: Workspace, tmp_path: Path) -> None:
    written = export_zero_1_to_g(ours, tmp_path / "out")
    assert (written.scenes, written.views) == (2, VIEWS)
    again = imported(tmp_path / "again", tmp_path / "out/renderings", tmp_path / "out/splatters")
    first, second = batch_of(ours), batch_of(again)
    torch.testing.assert_close(first.rgba, second.rgba, atol=0, rtol=0)
    torch.testing.assert_close(first.c2w, second.c2w, atol=1e-6, rtol=0)
    assert first.splatters is not None
    assert second.splatters is not None
    means = first.splatters.channels[:, :, :3].float()
    torch.testing.assert_close(means, second.splatters.channels[:, :, :3].float(), atol=1e-3, rtol=0)


def test_the_export_is_what_the_support_writes(ours: Workspace, tmp_path: Path) -> None:
    """Two writers of the layout, one by our functions, one by kiui's and the loader's conventions."""
    export_zero_1_to_g(ours, tmp_path / "out")
    renderings, folder = write_scene(tmp_path / "support", "aa11", 1)
    (theirs,) = (tmp_path / "out/splatters").glob("*/9000-9999/aa11/eval_pred_gs_*_es")
    assert sorted(path.name for path in theirs.iterdir()) == sorted(path.name for path in folder.iterdir())
    files = sorted(path.name for path in (tmp_path / "out/renderings/aa11").iterdir())
    assert files == sorted(path.name for path in renderings.iterdir())
    for number in range(VIEWS):
        one, other = (
            np.load(place / f"{number:03d}.npy", allow_pickle=True).item()
            for place in (tmp_path / "out/renderings/aa11", renderings)
        )
        assert one["fov"] == pytest.approx(49.1343, abs=1e-4)
        assert (one["elevation"], one["radius"]) == pytest.approx((other["elevation"], other["radius"]), abs=1e-6)
        assert one["azimuth"] % 360 == pytest.approx(other["azimuth"] % 360, abs=1e-6)
    for name in ("splatter_0.ply", "splatter_5.ply", "fused.ply"):
        one, other = ((place / name).read_bytes() for place in (theirs, folder))
        assert len(one) == len(other)
        # Headers are the same bytes; what follows are float32.
        start = one.index(b"end_header\n") + len(b"end_header\n")
        assert one[:start] == other[:start]
        values = [np.frombuffer(data[start:], "<f4").reshape(-1, 14) for data in (one, other)]
        np.testing.assert_allclose(values[0][:, :10], values[1][:, :10], atol=1e-4)


def test_exporting_again_gives_the_same_bytes(ours: Workspace, tmp_path: Path) -> None:
    for name in ("one", "two"):
        export_zero_1_to_g(ours, tmp_path / name)
    export_zero_1_to_g(ours, tmp_path / "one")
    assert not subprocess.run(["diff", "-r", tmp_path / "one", tmp_path / "two"], check=False).returncode


def test_renders_of_another_protocol_are_not_exported(ours: Workspace, tmp_path: Path) -> None:
    other = cameras("zero123", generator(0, "aa11", "cameras"), VIEWS, SIZE)
    write_cameras(object_folder(ours.scratch / "renders", "aa11"), other, [])
    with pytest.raises(
        InputError, match=r"001 to 006 of aa11 are not .*; render with render\.protocol: zero_1_to_g_training"
    ):
        export_zero_1_to_g(ours, tmp_path / "out")


def test_a_workspace_without_splatter_images_is_not_exported(
    render_boxes: Callable[..., Workspace], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"no splatter images .*; run viewforge splatter first"):
        export_zero_1_to_g(render_boxes(tmp_path / "w", train=1), tmp_path / "out")
