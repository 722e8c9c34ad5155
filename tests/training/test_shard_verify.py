"""Verification of shard sets: whole ones pass, and every kind of damage is named by shard, object and byte."""

import shutil
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from fault_server import FaultServer, end_after, reset_after
from shard_sets import QUICK, write_set
from shard_support import SMALL, flip, render_only

from stage.errors import InputError
from stage.workspace import Workspace
from training.data.index import INDEX, TOMBSTONES, IndexRow, read_index, write_index
from training.data.stats import count
from training.data.verify import Damage, verify
from training.data.writer import write_shards

RenderBoxes = Callable[..., Workspace]
BLOCK, RECORD = 512, 10240


@pytest.fixture(scope="session")
def grown(render_boxes: RenderBoxes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards of four living training objects, one dead, and one of val. Read only."""
    workspace = render_boxes(tmp_path_factory.mktemp("verify") / "workspace", train=5, val=1)
    render_only(workspace, "00train", "01train", "02train", "00val")
    write_shards(SMALL, workspace)
    render_only(workspace, "00train", "02train", "03train", "04train", "00val")
    write_shards(SMALL, workspace)
    return workspace.shards


@pytest.fixture
def shards(grown: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(grown, tmp_path / "shards"))


def row_of(shards: Path, key: str) -> IndexRow:
    return next(row for row in read_index(shards) if row.key == key)


def only_damage(shards: Path) -> Damage:
    (damage,) = verify(shards).damages
    return damage


def test_a_whole_set_passes_and_is_counted(grown: Path) -> None:
    found = verify(grown, workers=2)
    assert found.damages == []
    assert (found.shards, found.objects, found.views) == (4, 5, 20)
    assert found.bytes == sum(path.stat().st_size for path in grown.glob("*.tar"))


def test_stats_count_the_living_and_the_dead(grown: Path) -> None:
    found = count(grown)
    rows = read_index(grown)
    assert (found.total.objects, found.total.views, found.total.shards) == (5, 20, 4)
    assert found.total.bytes == sum(row.size for row in rows)
    assert (found.tombstones.objects, found.tombstones.shards) == (1, 1)
    assert [(group.name, group.objects, group.shards) for group in found.groups["split"]] == [
        ("train", 4, 3),
        ("val", 1, 1),
    ]
    assert [(group.name, group.objects) for group in found.groups["licence"]] == [("CC0-1.0", 5)]
    assert [(group.name, group.objects) for group in found.groups["source"]] == [("folder", 5)]


def test_a_flipped_byte_of_a_picture_names_the_picture(shards: Path) -> None:
    row = row_of(shards, "03train")
    flip(shards / row.shard, row.offset + BLOCK + 60)
    damage = only_damage(shards)
    assert (damage.shard, damage.key, damage.offset) == (row.shard, "03train", row.offset + BLOCK)
    assert str(damage).startswith(f"{row.shard}: byte {row.offset + BLOCK}: object 03train: its bytes are not those")


def test_a_flipped_byte_of_a_header_names_the_header(shards: Path) -> None:
    row = row_of(shards, "02train")
    flip(shards / row.shard, row.offset + 30)
    assert only_damage(shards) == Damage(
        row.shard, "02train", row.offset, "its bytes are not those that index.parquet names"
    )


def test_every_flipped_byte_is_found(shards: Path) -> None:
    row = row_of(shards, "00val")
    whole = (shards / row.shard).read_bytes()
    for place in [*range(0, len(whole), 97), len(whole) - 1]:
        flip(shards / row.shard, place)
        damage = only_damage(shards)
        assert damage.shard == row.shard
        assert damage.offset <= place
        (shards / row.shard).write_bytes(whole)
    assert verify(shards).damages == []


def test_damage_of_a_dead_object_is_damage(shards: Path) -> None:
    flip(shards / "train-000000.tar", row_of(shards, "00train").size + 700)
    damage = only_damage(shards)
    assert (damage.shard, damage.key) == ("train-000000.tar", "01train")


def test_every_truncation_is_found(shards: Path) -> None:
    row = row_of(shards, "00val")
    whole = (shards / row.shard).read_bytes()
    for length in [*range(0, len(whole), 401), row.size, len(whole) - BLOCK, len(whole) - 1]:
        (shards / row.shard).write_bytes(whole[:length])
        assert (only_damage(shards).shard, only_damage(shards).offset) == (row.shard, length)
    (shards / row.shard).write_bytes(whole[: row.size // 2])
    assert "the shard ends here" in only_damage(shards).what
    (shards / row.shard).write_bytes(whole[: row.size])
    assert "before the end of the tar" in only_damage(shards).what


@pytest.mark.parametrize("rest", [b"\0", b"x", b"\0" * RECORD, b"\0" * 100 + b"x"])
def test_trailing_bytes_are_named(shards: Path, rest: bytes) -> None:
    path = shards / "val-000000.tar"
    length = path.stat().st_size
    with path.open("ab") as stream:
        stream.write(rest)
    damage = only_damage(shards)
    assert damage.shard == "val-000000.tar"
    assert damage.offset == length + (rest.index(b"x") if b"x" in rest else 0)


def test_a_missing_shard_and_one_too_many_are_named(shards: Path) -> None:
    (shards / "val-000000.tar").rename(shards / "val-000007.tar")
    missing, strange = verify(shards).damages
    assert missing == Damage("val-000000.tar", "00val", 0, "the shard is missing")
    assert strange == Damage("val-000007.tar", "", 0, "index.parquet does not list this shard")


def test_an_index_of_other_shards_is_named(shards: Path, render_boxes: RenderBoxes, tmp_path: Path) -> None:
    other = render_boxes(tmp_path / "other", train=4, val=1)
    write_shards(SMALL, other)
    shutil.copy(other.shards / INDEX, shards / INDEX)
    damages = verify(shards).damages
    assert {damage.shard for damage in damages} >= {"train-000001.tar"}
    assert all(damage.key or damage.shard == "train-000002.tar" for damage in damages)


def test_an_object_that_no_list_has_is_found_at_either_end_of_a_shard(shards: Path) -> None:
    rows = [row for row in read_index(shards) if row.shard == "train-000002.tar"]
    first, last = rows
    write_index(shards, [row for row in read_index(shards) if row != first])
    what = "bytes before this are of no listed object: index.parquet is of other shards"
    assert only_damage(shards) == Damage(first.shard, last.key, 0, what)
    write_index(shards, [first, *(row for row in read_index(shards) if row != last)])
    assert only_damage(shards) == Damage(first.shard, "", last.offset, "bytes that are of no listed object")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"views": 3}, "it has 4 views, not 3"),
        ({"key": "other"}, "here lies 00val"),
        ({"sha256": "0" * 64}, "its bytes are not those"),
        ({"offset": BLOCK}, "no listed object"),
    ],
)
def test_a_wrong_row_is_named(shards: Path, change: dict[str, object], words: str) -> None:
    rows = read_index(shards)
    write_index(shards, [replace(row, **change) if row.key == "00val" else row for row in rows])  # type: ignore[arg-type]
    damages = verify(shards).damages
    assert {damage.shard for damage in damages} == {"val-000000.tar"}
    assert any(words in damage.what for damage in damages)


def test_a_key_twice_and_a_key_with_a_dot_are_named(shards: Path) -> None:
    rows = read_index(shards)
    write_index(shards, [*(replace(row, key="a.b") if row.key == "00val" else row for row in rows), rows[0]])
    what = {damage.what for damage in verify(shards).damages}
    assert "index.parquet lists its key 2 times" in what
    assert "its key holds a dot, which ends a sample's key" in what


def test_a_set_behind_http_is_verified_through_cuts(grown: Path) -> None:
    server = FaultServer()
    try:
        for path in grown.iterdir():
            server.serve(f"/shards/{path.name}", path.read_bytes())
        server.fail("/shards/train-000001.tar", reset_after(900), end_after(2000))
        url = server.url("/shards")
        assert verify(url, streams=QUICK) == verify(grown)
        assert count(url) == count(grown)
        del server.files["/shards/val-000000.tar"]
        (damage,) = verify(url, streams=QUICK).damages
        assert damage == Damage("val-000000.tar", "00val", 0, "the shard is missing")
    finally:
        server.close()


def test_verification_keeps_an_object_and_not_a_shard_in_memory(tmp_path: Path) -> None:
    shard = write_set(tmp_path / "shards", shards=1, samples=48, size=512 << 10)
    tracemalloc.start()
    try:
        found = verify(shard.folder, workers=1)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found.bytes == 24 << 20
    assert {damage.what.partition(" (")[0] for damage in found.damages if damage.key} == {"here lies no tar"}
    assert peak < 6 << 20


@pytest.mark.parametrize("name", [INDEX, TOMBSTONES])
def test_a_damaged_list_is_one_line(shards: Path, name: str) -> None:
    (shards / name).write_bytes((shards / name).read_bytes()[:300])
    for reading in (verify, count):
        with pytest.raises(InputError, match=f"{name} is damaged") as caught:
            reading(shards)
        assert "\n" not in str(caught.value)
