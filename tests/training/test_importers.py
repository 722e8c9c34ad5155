"""Published sets into a workspace: cameras in our conventions, what is left out and why, and shards made of the result."""

import json
import shutil
import struct
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scene_support import archive_files, npy, png, published_object, scene, write_archive, write_files

from blender_render.rendered_object import read_record, read_views
from catalog.table import read_table
from geometry.cameras import c2w_from_zero123
from stage.errors import InputError
from stage.files import folder_sha256
from stage.packs import object_folder
from stage.workspace import Workspace
from training.data.importers.candidates import PublishedSet
from training.data.importers.published import open_published
from training.data.importers.workspace_import import Imported, import_set
from training.data.index import read_index
from training.data.reader import ShardReader
from training.data.views import ObjectViews
from training.data.writer import ShardParameters, write_shards
from training.data.zeronvs_layout import write_scenes


def imported(root: Path, published: PublishedSet) -> dict[str, Imported]:
    return {each.uid: each for each in import_set(published, Workspace(root), workers=2)}


def sharded_objects(root: Path) -> dict[str, ObjectViews]:
    """All objects that the shard stage makes of an imported workspace."""
    workspace = Workspace(root)
    write_shards(ShardParameters(), workspace)
    readers = [ShardReader(workspace.shards, split) for split in {row.split for row in read_index(workspace.shards)}]
    objects = [reader[number] for reader in readers for number in range(len(reader))]
    return {views.uid: views for views in objects}


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """A folder of three published objects."""
    return write_files(tmp_path / "views_release", {f"{n:032x}": published_object(n) for n in range(3)})


def test_views_release_goes_into_shards(release: Path, tmp_path: Path) -> None:
    results = imported(tmp_path / "w", open_published("views_release", release, 12))
    assert {uid: each.failure for uid, each in results.items()} == {f"{n:032x}": "" for n in range(3)}
    objects = sharded_objects(tmp_path / "w")
    assert sorted(objects) == sorted(results)
    for number in range(3):
        views, files = objects[f"{number:032x}"], published_object(number)
        assert views.rgba.shape == (12, 16, 16, 4)
        for view in range(12):
            matrix = np.load(release / views.uid / f"{view:03d}.npy")
            np.testing.assert_allclose(views.c2w[view], c2w_from_zero123(matrix), atol=1e-12)
            np.testing.assert_allclose(views.c2w[view, :3, 3], -matrix[:, :3].T @ matrix[:, 3], atol=1e-12)
            picture = object_folder(tmp_path / "w" / "scratch" / "renders", views.uid) / f"{view:03d}.png"
            assert picture.read_bytes() == files[f"{view:03d}.png"]


def test_views_release_has_the_published_lens(release: Path, tmp_path: Path) -> None:
    imported(tmp_path / "w", open_published("views_release", release, 12))
    (view, *_) = read_views(object_folder(tmp_path / "w" / "scratch" / "renders", f"{0:032x}"))
    assert view.intrinsics.fx == pytest.approx(16 * 35 / 32)
    assert (view.intrinsics.cx, view.intrinsics.width) == (8, 16)


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz"])
def test_the_archive_gives_what_the_folder_gives(release: Path, tmp_path: Path, suffix: str) -> None:
    files = {f"views_release/{path.relative_to(release)}": path.read_bytes() for path in sorted(release.rglob("*.*"))}
    archive = write_archive(tmp_path / f"views{suffix}", {"views_release/valid_paths.json": b"[]", **files})
    for name, source in (("f", release), ("a", archive)):
        imported(tmp_path / name, open_published("views_release", source, 12))
    assert folder_sha256(tmp_path / "f") == folder_sha256(tmp_path / "a")


def damaged_npy(shape: str) -> bytes:
    """A `.npy` of a shape that its data does not have."""
    header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode()


RGBA = np.zeros((16, 16, 4), np.uint8)
REASONS = {
    "no-picture": ("007.png", None, "missing: 007.png missing"),
    "no-pose": ("011.npy", None, "missing: 011.npy missing"),
    "broken-picture": ("003.png", png(RGBA)[:-30], "parse: 003.png is damaged"),
    "text": ("003.png", b"<html>", "parse: 003.png is damaged"),
    "no-alpha": ("003.png", png(RGBA[..., :3]), "parse: 003.png is RGB, without 8-bit alpha"),
    "a-jpeg": ("003.png", png(RGBA[..., :3], format="JPEG"), "parse: 003.png is damaged"),
    "other-size": ("003.png", png(RGBA[:8, :8]), "parse: its pictures differ in size"),
    "pickled": ("005.npy", npy(np.array([print, {}], dtype=object), allow_pickle=True), "parse: 005.npy is no 3×4"),
    "flat": ("005.npy", npy(np.zeros(12)), r"parse: 005.npy is no 3×4 .* shape \(12,\)"),
    "cut": ("005.npy", npy(np.eye(4)[:3])[:-8], "parse: 005.npy is no 3×4"),
    "huge": ("005.npy", damaged_npy("(1000000000000, 4)"), "parse: 005.npy is no 3×4"),
    "no-rotation": ("005.npy", npy(np.ones((3, 4))), "parse: 005.npy is no 3×4 .* not rigid"),
    "not-a-number": ("005.npy", npy(np.full((3, 4), np.nan)), "parse: 005.npy is no 3×4"),
    "no.key": ("012.txt", b"", "parse: 'no.key' has other characters"),
}


def test_incomplete_objects_are_left_out_with_their_reasons(tmp_path: Path) -> None:
    folders = {"good": published_object(0)}
    for uid, (name, data, _) in REASONS.items():
        folders[uid] = {key: value for key, value in published_object(1).items() if key != name}
        if data is not None:
            folders[uid][name] = data
    release = write_files(tmp_path / "views_release", folders)
    results = imported(tmp_path / "w", open_published("views_release", release, 12))
    assert sorted(results) == sorted(folders)
    rows = {asset.uid: asset for asset in read_table(tmp_path / "w/data/catalog/catalog.parquet")}
    table = pd.read_parquet(tmp_path / "w/data/renders/objects.parquet").set_index("uid")
    for uid, (_, _, words) in REASONS.items():
        each = results[uid]
        assert pd.Series([f"{each.failure}: {each.message}"]).str.contains(words).all(), (each, words)
        assert rows[uid].reason == f"{each.failure}: {each.message}"
        assert not rows[uid].selected
        assert (table.loc[uid, "complete"], table.loc[uid, "message"]) == (False, each.message)
    assert not results["good"].failure
    assert list(sharded_objects(tmp_path / "w")) == ["good"]


def test_valid_paths_choose_and_name_what_is_gone(release: Path, tmp_path: Path) -> None:
    (release / "valid_paths.json").write_text(json.dumps([f"{1:032x}", "gone"]))
    results = imported(tmp_path / "w", open_published("views_release", release, 12))
    assert {uid: each.failure for uid, each in results.items()} == {f"{1:032x}": "", "gone": "missing"}


@pytest.mark.parametrize("content", [b"", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"])
def test_an_empty_list_of_a_mirror_means_all(release: Path, content: bytes) -> None:
    (release / "valid_paths.json").write_bytes(content)
    assert open_published("views_release", release, 12).total == 3


def test_a_list_cannot_lead_out_of_its_folder(release: Path) -> None:
    (release / "valid_paths.json").write_text('["../secret"]')
    with pytest.raises(InputError, match=r"leads out of its folder: \.\./secret"):
        open_published("views_release", release, 12)


def test_renderings_of_one_object_share_its_split(tmp_path: Path) -> None:
    folders = {f"object{n}{suffix}": published_object(n, 2) for n in range(12) for suffix in ("", "_1")}
    imported(tmp_path / "w", open_published("views_release", write_files(tmp_path / "v", folders), 2))
    splits = {asset.uid: asset.split for asset in read_table(tmp_path / "w/data/catalog/catalog.parquet")}
    assert len(set(splits.values())) > 1
    assert all(splits[f"object{n}"] == splits[f"object{n}_1"] for n in range(12))


def test_of_a_folder_that_comes_again_in_an_archive_the_first_counts(tmp_path: Path) -> None:
    first = [(f"r/one/{name}", data) for name, data in published_object(0, 2).items()]
    other = [(f"r/two/{name}", data) for name, data in published_object(1, 2).items()]
    again = [(f"r/one/{name}", data) for name, data in published_object(2, 2).items()]
    archive = write_archive(tmp_path / "v.tar", [*first, *other[:2], *again, *other[2:]])
    results = imported(tmp_path / "w", open_published("views_release", archive, 2))
    assert {uid: each.failure for uid, each in results.items()} == {"one": "", "two": "missing"}
    folder = object_folder(tmp_path / "w/scratch/renders", "one")
    assert (folder / "000.png").read_bytes() == first[0][1]


def test_importing_again_writes_nothing_anew_and_gives_the_same_bytes(release: Path, tmp_path: Path) -> None:
    imported(tmp_path / "w", open_published("views_release", release, 12))
    before = folder_sha256(tmp_path / "w")
    folder = object_folder(tmp_path / "w" / "scratch" / "renders", f"{0:032x}")
    inode = folder.stat().st_ino
    imported(tmp_path / "w", open_published("views_release", release, 12))
    assert folder_sha256(tmp_path / "w") == before
    assert folder.stat().st_ino == inode
    (release / f"{0:032x}" / "000.png").write_bytes(png(RGBA))
    imported(tmp_path / "w", open_published("views_release", release, 12))
    assert (folder / "000.png").read_bytes() == png(RGBA)


def test_packs_alone_are_enough_for_shards(release: Path, tmp_path: Path) -> None:
    imported(tmp_path / "w", open_published("views_release", release, 12))
    shutil.rmtree(tmp_path / "w" / "scratch")
    assert len(sharded_objects(tmp_path / "w")) == 3


def test_a_workspace_of_something_else_is_left_alone(release: Path, tmp_path: Path, sharded: Workspace) -> None:
    shutil.copytree(sharded.catalog, tmp_path / "data" / "catalog")
    before = folder_sha256(tmp_path / "data")
    with pytest.raises(InputError, match="holds objects of folder; import into a new folder"):
        imported(tmp_path, open_published("views_release", release, 12))
    assert folder_sha256(tmp_path / "data") == before


def test_a_set_without_a_complete_object_fails(tmp_path: Path) -> None:
    release = write_files(tmp_path / "v", {"one": {"000.png": b""}})
    with pytest.raises(InputError, match=r"none of 1 objects is complete, one: 000\.npy and 22 more missing"):
        imported(tmp_path / "w", open_published("views_release", release, 12))


def test_a_truncated_archive_keeps_what_came_before(release: Path, tmp_path: Path) -> None:
    files = {f"r/{path.relative_to(release)}": path.read_bytes() for path in sorted(release.rglob("*.*"))}
    archive = write_archive(tmp_path / "v.tar.gz", files)
    archive.write_bytes(archive.read_bytes()[:-4000])
    with pytest.raises(InputError, match=rf"v\.tar\.gz is damaged at r/{2:032x}/0.*; download it again"):
        imported(tmp_path / "w", open_published("views_release", archive, 12))
    assert not (tmp_path / "w/data/renders/objects.parquet").exists()
    kept = object_folder(tmp_path / "w/scratch/renders", f"{0:032x}")
    assert read_record(kept)["source"] == "views_release"


@pytest.mark.parametrize("form", ["co3d", "re10k"])
def test_zeronvs_shards_go_into_shards(tmp_path: Path, form: str) -> None:
    scenes = [scene("one", size=(12, 12)), scene("two", "bowl", 5, (10, 20), seed=1)]
    shards = write_scenes(tmp_path / "s" / form, "train", scenes, form, max_bytes=1)
    results = imported(tmp_path / "w", open_published("zeronvs", tmp_path / "s", 12))
    assert sorted(results) == ["book_one", "bowl_two"]
    objects = sharded_objects(tmp_path / "w")
    for written, shard in zip(scenes, shards, strict=True):
        views = objects[f"{written.category}_{written.name}"]
        np.testing.assert_array_equal(views.rgba[..., :3], written.pictures)
        assert (views.rgba[..., 3] == 255).all()
        np.testing.assert_allclose(views.c2w, written.c2w, atol=1e-9)
        folder = object_folder(tmp_path / "w/scratch/renders", views.uid)
        found = [list(vars(view.intrinsics).values()) for view in read_views(folder)]
        np.testing.assert_allclose(found, [list(vars(lens).values()) for lens in written.intrinsics])
        picture = archive_files(shard)[f"{written.key}/frame000002.png"]
        assert (folder / "001.png").read_bytes() == picture
    assets = read_table(tmp_path / "w/data/catalog/catalog.parquet")
    assert [asset.categories for asset in assets] == [("book",), ("bowl",)]


def test_a_damaged_scene_is_left_out_by_shard_and_key(tmp_path: Path) -> None:
    (shard,) = write_scenes(tmp_path / "s", "train", [scene("one"), scene("two")])
    files = archive_files(shard)
    files["book/one/frame000002.png"] = files["book/one/frame000002.png"][:-40]
    write_archive(shard, files)
    results = imported(tmp_path / "w", open_published("zeronvs", shard, 12))
    assert results["book_one"].failure == "parse"
    assert results["book_one"].message.startswith(f"{shard}: book/one/frame000002: ")
    assert list(sharded_objects(tmp_path / "w")) == ["book_two"]


def test_no_shard_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no shard in"):
        open_published("zeronvs", tmp_path, 12)


# At (2, 0, 0) looking at the origin with +Z up, and one unit to its right.
SIDE = "0 1 0 {} 0 0 -1 0 -1 0 0 2"
LINE = "{} 0.5 0.9 0.5 0.5 0 0 {}"


def write_clip(root: Path, name: str, *lines: str) -> None:
    (root / name).mkdir(parents=True)
    (root / f"{name}.txt").write_text("\n".join(["https://video", *lines]) + "\n")


@pytest.mark.parametrize("name", ["re10k", "acid"])
def test_a_clip_of_real_estate10k_is_converted(tmp_path: Path, name: str) -> None:
    lines = [LINE.format(time, SIDE.format(-shift)) for time, shift in ((100, 0), (200, 1), (300, 2))]
    write_clip(tmp_path / "r", "0a1b", *lines)
    pictures = np.random.default_rng(0).integers(0, 256, (2, 9, 16, 3), dtype=np.uint8)
    (tmp_path / "r/0a1b/100.png").write_bytes(png(pictures[0]))
    (tmp_path / "r/0a1b/300.jpg").write_bytes(png(pictures[1], format="JPEG"))
    results = imported(tmp_path / "w", open_published(name, tmp_path / "r", 12))
    assert (results["0a1b"].failure, results["0a1b"].views) == ("", 2)
    first, second = read_views(object_folder(tmp_path / "w/scratch/renders", "0a1b"))
    expected = np.array([[0.0, 0.0, 1.0, 2.0], [1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]])
    np.testing.assert_allclose(first.c2w, expected, atol=1e-12)
    np.testing.assert_allclose(second.c2w[:3, 3], [2.0, 2.0, 0.0], atol=1e-12)
    assert list(vars(first.intrinsics).values()) == pytest.approx([8.0, 8.1, 8.0, 4.5, 16, 9])
    views = sharded_objects(tmp_path / "w")["0a1b"]
    np.testing.assert_array_equal(views.rgba[0, ..., :3], pictures[0])
    assert read_table(tmp_path / "w/data/catalog/catalog.parquet")[0].source == name


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([LINE.format(100, SIDE.format(0))], "1 frames of it are there, two are needed"),
        ([LINE.format(100, SIDE.format(0)), LINE.format(200, "1 2 3")], r"line 3 of bad\.txt is no 19 numbers"),
        ([LINE.format(100, SIDE.format("nan"))], r"line 2 of bad\.txt is no 19 numbers"),
        ([LINE.format(time, "1 1 1 0 0 0 -1 0 -1 0 0 2") for time in (100, 200)], r"100\.png: .* pose is not rigid"),
    ],
)
def test_a_clip_that_cannot_be_used_is_left_out(tmp_path: Path, lines: list[str], words: str) -> None:
    good = [LINE.format(time, SIDE.format(0)) for time in (100, 200)]
    for name, content in (("bad", lines), ("good", good)):
        write_clip(tmp_path / "r", name, *content)
        for line in content:
            (tmp_path / "r" / name / f"{line.split()[0]}.png").write_bytes(png(RGBA))
    results = imported(tmp_path / "w", open_published("re10k", tmp_path / "r", 12))
    assert not results["good"].failure
    assert pd.Series([results["bad"].message]).str.contains(words).all(), results["bad"]
