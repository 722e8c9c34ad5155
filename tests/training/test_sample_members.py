"""Single members of a sample: found by the index alone, equal to those of the whole, each checked whenever it is read."""

import hashlib
import io
import tarfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fault_server import FaultServer
from hypothesis import given, settings
from hypothesis import strategies as st
from shard_sets import QUICK
from shard_support import flip

from stage.errors import InputError
from stage.workspace import Workspace
from training.data.cache import ShardCache
from training.data.http_store import HttpStore
from training.data.index import IndexRow, read_index, write_index
from training.data.members import listed_names, listing, tar_members
from training.data.reader import ShardReader
from training.data.samples import CheckedSamples
from training.data.shard_store import LocalStore
from training.data.verify import verify

SHARD = "train-000000.tar"
Content = Mapping[str, bytes]


def write_tar(folder: Path, objects: Mapping[str, Content], form: int = tarfile.PAX_FORMAT) -> list[IndexRow]:
    """A shard of objects with a right index."""
    folder.mkdir(exist_ok=True)
    starts = []
    with tarfile.open(folder / SHARD, "w", format=form) as archive:
        for key, content in objects.items():
            starts.append(archive.offset)
            for name, data in content.items():
                member = tarfile.TarInfo(f"{key}.{name}")
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
        end = archive.offset
    data = (folder / SHARD).read_bytes()
    rows = []
    for key, start, stop in zip(objects, starts, [*starts[1:], end], strict=True):
        members, sizes, checks = listing(data[start:stop], key)
        sha256 = hashlib.sha256(data[start:stop]).hexdigest()
        row = IndexRow(SHARD, key, start, stop - start, sha256, 1, "train", "CC0-1.0", "folder")
        rows.append(replace(row, members=members, sizes=sizes, checks=checks))
    write_index(folder, rows)
    return rows


def content(*sizes: int, seed: int = 0) -> Content:
    chance = np.random.default_rng(seed)
    return {f"{number:03d}.png": chance.bytes(size) for number, size in enumerate(sizes)}


def contents(members: Mapping[str, memoryview]) -> dict[str, bytes]:
    return {name: bytes(data) for name, data in members.items()}


texts = st.text(
    st.characters(codec="utf-8", exclude_characters="/.\0", exclude_categories=["Cs", "Zs", "Cc"]), min_size=1
)
names = st.builds(".".join, st.lists(texts, min_size=1, max_size=3))
sizes = st.sampled_from([0, 1, 511, 512, 513, 5000]) | st.integers(0, 3000)
objects = st.dictionaries(
    texts | st.just("k" * 98), st.dictionaries(names, sizes, min_size=1, max_size=6), min_size=1, max_size=3
)


@given(
    objects=objects,
    form=st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]),
    chance=st.randoms(use_true_random=False),
)
@settings(max_examples=40, deadline=None)
def test_members_read_singly_are_those_of_the_whole(
    tmp_path_factory: pytest.TempPathFactory, objects: dict[str, dict[str, int]], form: int, chance: Callable
) -> None:
    folder = tmp_path_factory.mktemp("set")
    held = {
        key: {name: bytes([place + 1]) * size for place, (name, size) in enumerate(of_one.items())}
        for key, of_one in objects.items()
    }
    rows = write_tar(folder, held, form)
    assert read_index(folder) == rows
    samples = CheckedSamples(LocalStore(folder))
    for row in read_index(folder):
        whole = contents(tar_members(samples.read(row)))
        assert whole == held[row.key]
        plain = all(len(f"{row.key}.{name}".encode()) <= 100 and f"{row.key}{name}".isascii() for name in whole)
        assert bool(row.members) or not plain
        some = chance.sample(list(whole), chance.randint(1, len(whole)))
        sample = samples.open(row)
        assert set(sample.names) == set(whole)
        assert {name: bytes(data) for name, data in sample.read(some).items() if name in some} == {
            name: whole[name] for name in some
        }


@pytest.mark.parametrize(
    ("key", "names"),
    [
        ("k" * 100, ["000.png"]),
        ("schlüssel", ["000.png"]),
        ("other", ["000.png", "000.png"]),
    ],
    ids=["long name", "not ASCII", "name twice"],
)
def test_what_is_not_plain_is_read_whole(tmp_path: Path, key: str, names: Sequence[str]) -> None:
    with tarfile.open(tmp_path / SHARD, "w") as archive:
        for name in names:
            archive.addfile(tarfile.TarInfo(f"{key}.{name}"), io.BytesIO())
    assert listing((tmp_path / SHARD).read_bytes(), key) == ("", (), b"")


def test_members_of_another_object_are_not_listed(tmp_path: Path) -> None:
    write_tar(tmp_path, {"one": content(10), "two": content(10)})
    assert listing((tmp_path / SHARD).read_bytes(), "one") == ("", (), b"")


def test_each_flipped_byte_of_what_is_used_is_found(tmp_path: Path) -> None:
    """And one of what is not used is none of the reader's business, but the verification's."""
    (row,) = write_tar(tmp_path, {"one": content(30, 600, 700, 20)})
    samples, used = CheckedSamples(LocalStore(tmp_path)), ["001.png", "003.png"]
    sound, whole = samples.members(row, used), (tmp_path / SHARD).read_bytes()
    starts = {name: whole.index(data) for name, data in content(30, 600, 700, 20).items()}
    # The 100 bytes of a header's name, and the content.
    names = {name: range(starts[name] - 512, starts[name] - 412) for name in used}
    held = {name: range(starts[name], starts[name] + row.sizes[int(name[:3])]) for name in used}
    for number, place in enumerate(range(0, row.size, 11)):
        flip(tmp_path / SHARD, place)
        hit = [name for name in used if place in names[name] or place in held[name]]
        if hit:
            line = rf"{SHARD} is damaged at byte 0, object one, member {hit[0]} at byte {starts[hit[0]] - 512}; restore it"
            with pytest.raises(InputError, match=line):
                samples.members(row, used)
        else:
            assert contents(samples.members(row, used)) == contents(sound)
        assert number % 20 or verify(tmp_path).damages
        flip(tmp_path / SHARD, place)
    assert (tmp_path / SHARD).read_bytes() == whole
    assert not [damage for damage in verify(tmp_path).damages if "lists" in damage.what]


def test_an_index_of_another_shard_is_found(tmp_path: Path) -> None:
    """Also where the contents at its places are the same, and only the names tell."""
    same = {"000.png": b"a" * 100, "001.png": b"b" * 100}
    stale = write_tar(tmp_path / "old", {"one": same, "two": same})
    write_tar(tmp_path / "new", {"two": same, "one": same})
    samples = CheckedSamples(LocalStore(tmp_path / "new"))
    for row in stale:
        with pytest.raises(InputError, match=f"is damaged at byte {row.offset}, object {row.key}, member 001.png"):
            samples.members(row, ["001.png"])
    with pytest.raises(InputError, match=r"object one, member 000\.png at byte 20480"):
        samples.members(replace(stale[0], offset=20480), ["000.png", "001.png"])


def test_a_row_that_contradicts_itself_is_said_to(sharded: Workspace, tmp_path: Path) -> None:
    (tmp_path / SHARD).write_bytes((sharded.shards / SHARD).read_bytes())
    first = next(row for row in read_index(sharded.shards) if row.shard == SHARD)
    write_index(tmp_path, [replace(first, sizes=first.sizes[:-1])])
    with pytest.raises(InputError, match=r"cannot be decoded: 5 members, 4 sizes and 40 bytes of hashes"):
        ShardReader(tmp_path, "train").views(0, [1])
    (damage, *_) = verify(tmp_path).damages
    assert damage.what == "its members are not those that index.parquet lists"


def test_an_index_without_members_serves(sharded: Workspace, tmp_path: Path) -> None:
    """That of an older set."""
    bare = [replace(row, members="", sizes=(), checks=b"") for row in read_index(sharded.shards)]
    for path in sharded.shards.glob("*.tar"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    write_index(tmp_path, bare)
    now, before = ShardReader(sharded.shards, "train"), ShardReader(tmp_path, "train")
    assert all(row.members for row in now.rows)
    for number in range(len(now)):
        for ours, theirs in ((now[number], before[number]), (now.views(number, [2, 0]), before.views(number, [2, 0]))):
            np.testing.assert_array_equal(ours.rgba, theirs.rgba)
            np.testing.assert_array_equal(ours.c2w, theirs.c2w)
    assert now.members(0) == before.members(0)


def test_the_writer_lists_what_its_tars_hold(sharded: Workspace) -> None:
    for row in read_index(sharded.shards):
        with tarfile.open(sharded.shards / row.shard) as archive:
            held = [member for member in archive if member.name.startswith(f"{row.key}.")]
            assert [f"{row.key}.{name}" for name in listed_names(row.members)] == [member.name for member in held]
            assert list(row.sizes) == [member.size for member in held]
            found = [hashlib.sha256(archive.extractfile(member).read()).digest()[:8] for member in held]  # type: ignore[union-attr]
            assert row.checks == b"".join(found)


@pytest.fixture
def far(tmp_path: Path, server: FaultServer) -> tuple[list[IndexRow], HttpStore]:
    """Two objects of eight pictures of 200 kB and a small file at the end, on a server."""
    held = {
        key: {**content(*[200_000] * 8, seed=seed), "cameras.json": b"{}"} for seed, key in enumerate(("one", "two"))
    }
    rows = write_tar(tmp_path / "far", held)
    for path in (tmp_path / "far").iterdir():
        server.serve(f"/shards/{path.name}", path.read_bytes())
    return rows, HttpStore(server.url("/shards"), QUICK)


@pytest.mark.parametrize(
    ("wanted", "requests"),
    [
        (["001.png", "006.png"], 3),
        (["003.png", "004.png"], 2),
        (["000.png", "007.png"], 2),
        (["006.png", "007.png"], 1),
    ],
)
def test_a_pair_over_http_costs_little_more_than_its_members(
    far: tuple[list[IndexRow], HttpStore], server: FaultServer, wanted: list[str], requests: int
) -> None:
    rows, store = far
    whole = tar_members(CheckedSamples(store).read(rows[1]))
    server.seen.clear()
    members = CheckedSamples(store).members(rows[1], [*wanted, "cameras.json"])
    assert contents(members) == {name: bytes(whole[name]) for name in [*wanted, "cameras.json"]}
    assert len(server.seen) == requests
    assert sum(seen.sent for seen in server.seen) <= 400_002 + 3 * 1024


@pytest.mark.parametrize("place", ["the copy", "the origin"])
def test_a_damaged_copy_is_compared_with_the_origin(
    far: tuple[list[IndexRow], HttpStore], server: FaultServer, tmp_path: Path, place: str
) -> None:
    rows, store = far
    cache = ShardCache(tmp_path / "cache", 10**8)
    samples = CheckedSamples(store, cache)
    sound = contents(samples.members(rows[0], ["002.png"]))
    (copy,) = (tmp_path / "cache").glob("*/*.tar")
    at = copy.read_bytes().index(sound["002.png"]) + 1000
    flip(copy, at)
    if place == "the origin":
        flip(tmp_path / "far" / SHARD, at)
        server.serve(f"/shards/{SHARD}", (tmp_path / "far" / SHARD).read_bytes())
    assert contents(samples.members(rows[0], ["005.png"])) == {"005.png": content(*[200_000] * 8)["005.png"]}
    assert copy.exists(), "what is used of it is sound"
    server.seen.clear()
    if place == "the origin":
        with pytest.raises(InputError, match=r"damaged at byte 0, object one, member 002\.png at byte"):
            samples.members(rows[0], ["002.png"])
        return
    assert contents(samples.members(rows[0], ["002.png"])) == sound
    assert [seen.headers["Range"] for seen in server.seen] == [f"bytes={at - 1512}-{at - 1001 + 200_000}"]
    assert not copy.exists()
