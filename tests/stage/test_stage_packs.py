"""Packs: the same files give the same bytes, objects keep their pack, and only whole objects come back."""

import os
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog.folder import uid_of
from stage.changes import Changes
from stage.errors import InputError
from stage.files import write_text
from stage.packs import object_folder, pack_of, unpack_kept, unpack_missing, write_packs

UIDS = [uid_of(f"object {number}") for number in range(12)]


def fill(root: Path, uids: list[str]) -> None:
    for uid in uids:
        write_text(object_folder(root, uid) / "record.json", uid)
        write_text(object_folder(root, uid) / "views" / "000.png", uid * 100)


def contents(packs: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(packs.iterdir())}


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    """A folder of three packs."""
    fill(tmp_path / "loose", UIDS)
    write_packs(tmp_path / "loose", UIDS, tmp_path / "packs", 3)
    return tmp_path / "packs"


def test_the_same_objects_give_the_same_bytes_elsewhere_later_and_in_another_order(
    packed: Path, tmp_path: Path
) -> None:
    fill(tmp_path / "again", UIDS[::-1])
    for path in (tmp_path / "again").rglob("*"):
        os.utime(path, (0, 0))
        path.chmod(0o700)
    write_packs(tmp_path / "again", UIDS[::-1], tmp_path / "packs again", 3)
    assert contents(tmp_path / "packs again") == contents(packed)


def test_an_added_object_changes_one_pack(packed: Path, tmp_path: Path) -> None:
    new = uid_of("one more")
    fill(tmp_path / "loose", [new])
    write_packs(tmp_path / "loose", [*UIDS, new], tmp_path / "grown", 3)
    before, after = contents(packed), contents(tmp_path / "grown")
    assert [name for name in after if after[name] != before.get(name)] == [f"pack-{pack_of(new, 3):05d}.tar"]


def test_packs_that_hold_the_same_are_left_alone(packed: Path, tmp_path: Path) -> None:
    before, changes = {path.name: path.stat().st_ino for path in packed.iterdir()}, Changes()
    new = uid_of("one more")
    fill(tmp_path / "loose", [new])
    write_packs(tmp_path / "loose", [*UIDS, new], packed, 3, changes=changes)
    written = [name for name, inode in before.items() if (packed / name).stat().st_ino != inode]
    assert written == [f"pack-{pack_of(new, 3):05d}.tar"]
    assert (changes.files, changes.written) == (3, 1)


@pytest.mark.parametrize("change", ["record", "size", "added", "removed", "cut off"])
def test_a_pack_of_anything_else_is_written_again(packed: Path, tmp_path: Path, change: str) -> None:
    folder, pack = object_folder(tmp_path / "loose", UIDS[0]), packed / f"pack-{pack_of(UIDS[0], 3):05d}.tar"
    match change:
        case "record":
            write_text(folder / "record.json", UIDS[1])
        case "size":
            write_text(folder / "views" / "000.png", "short")
        case "added":
            write_text(folder / "views" / "001.png", "more")
        case "removed":
            (folder / "views" / "000.png").unlink()
        case "cut off":
            pack.write_bytes(pack.read_bytes()[:700])
    changes = Changes()
    write_packs(tmp_path / "loose", UIDS, packed, 3, changes=changes)
    assert changes.written == 1
    write_packs(tmp_path / "loose", UIDS, tmp_path / "fresh", 3)
    assert contents(packed) == contents(tmp_path / "fresh")


def test_what_packs_have_is_brought_back_and_the_rest_is_to_be_made(packed: Path, tmp_path: Path) -> None:
    (packed / "pack-00000.tar").write_bytes(b"damaged" * 100)
    unpack_kept(packed, tmp_path / "back", [*UIDS, uid_of("one more")])
    back = {path.parent.name for path in (tmp_path / "back").rglob("record.json")}
    assert back <= set(UIDS)
    unpack_kept(tmp_path / "nowhere", tmp_path / "none", UIDS)
    assert not (tmp_path / "none").exists()


def test_a_folder_within_objects_may_stay_out(packed: Path, tmp_path: Path) -> None:
    write_packs(tmp_path / "loose", UIDS, tmp_path / "lean", 3, without="views")
    unpack_missing(tmp_path / "lean", tmp_path / "back", UIDS)
    files = {path.name for path in object_folder(tmp_path / "back", UIDS[0]).rglob("*")}
    assert files == {"record.json"}


@settings(deadline=None)
@given(uid=st.text(min_size=1), count=st.integers(1, 1000))
def test_an_objects_pack_follows_from_its_uid(uid: str, count: int) -> None:
    assert pack_of(uid, count) == pack_of(uid, count)
    assert 0 <= pack_of(uid, count) < count


def test_objects_are_spread_over_the_packs() -> None:
    counts = Counter(pack_of(uid_of(f"{number}"), 4) for number in range(4000))
    assert all(800 < counts[number] < 1200 for number in range(4))


def test_a_pack_whose_objects_are_gone_goes_too(packed: Path, tmp_path: Path) -> None:
    """Or a reader would find objects in it that the stage no longer publishes."""
    write_packs(tmp_path / "loose", UIDS[:1], packed, 3)
    assert sorted(contents(packed)) == [f"pack-{pack_of(UIDS[0], 3):05d}.tar"]


def test_other_files_beside_the_packs_stay(packed: Path, tmp_path: Path) -> None:
    write_text(packed / "objects.parquet", "a table")
    write_packs(tmp_path / "loose", UIDS[:1], packed, 3)
    assert (packed / "objects.parquet").is_file()


def test_missing_objects_come_back_and_present_ones_stay_as_they_are(packed: Path, tmp_path: Path) -> None:
    root = tmp_path / "elsewhere"
    write_text(object_folder(root, UIDS[0]) / "record.json", "newer")
    unpack_missing(packed, root, UIDS)
    assert (object_folder(root, UIDS[0]) / "record.json").read_text() == "newer"
    assert not (object_folder(root, UIDS[0]) / "views").exists()
    for uid in UIDS[1:]:
        assert (object_folder(root, uid) / "views" / "000.png").read_text() == uid * 100
    assert sorted(root.glob(".*")) == [root / ".unpacking"], "the lock and nothing else"


def test_only_the_objects_asked_for_come_back(packed: Path, tmp_path: Path) -> None:
    unpack_missing(packed, tmp_path / "elsewhere", UIDS[:2])
    assert sorted(p.name for p in (tmp_path / "elsewhere").glob("*/*")) == sorted(UIDS[:2])


def test_what_a_killed_unpacking_left_does_not_become_an_object(packed: Path, tmp_path: Path) -> None:
    root = tmp_path / "elsewhere"
    together = [uid for uid in UIDS if pack_of(uid, 3) == pack_of(UIDS[0], 3)]
    half = object_folder(root / f".pack-{pack_of(UIDS[0], 3):05d}.tar.tmp", together[1])
    write_text(half / "record.json", "half")
    unpack_missing(packed, root, [together[0]])
    assert [p.name for p in root.glob("*/*")] == [together[0]]


def test_an_object_in_no_pack_is_named(packed: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"lacks 1 objects, {'f' * 32} among them; run the stage before again"):
        unpack_missing(packed, tmp_path / "elsewhere", [*UIDS, "f" * 32])


@pytest.mark.parametrize("damage", ["cut short", "overwritten", "empty"])
def test_a_damaged_pack_is_a_one_line_error(damage: str, packed: Path, tmp_path: Path) -> None:
    path = packed / f"pack-{pack_of(UIDS[0], 3):05d}.tar"
    data = path.read_bytes()
    path.write_bytes({"cut short": data[: len(data) // 2 + 100], "overwritten": b"\x7f" * 4096, "empty": b""}[damage])
    with pytest.raises(InputError) as caught:
        unpack_missing(packed, tmp_path / "elsewhere", UIDS)
    assert "\n" not in str(caught.value)
    assert str(packed) in str(caught.value)


def test_no_object_of_a_pack_cut_short_comes_back_in_part(packed: Path, tmp_path: Path) -> None:
    path = packed / f"pack-{pack_of(UIDS[0], 3):05d}.tar"
    path.write_bytes(path.read_bytes()[:-12_000])
    with pytest.raises(InputError):
        unpack_missing(packed, tmp_path / "elsewhere", UIDS)
    for folder in (tmp_path / "elsewhere").glob("*/*"):
        assert (folder / "views" / "000.png").read_text() == folder.name * 100


def test_what_a_killed_writer_left_is_no_part_of_the_packs(tmp_path: Path) -> None:
    """It would take its room for ever, and DVC would version it with them."""
    packed = tmp_path / "packs"
    packed.mkdir()
    for name in (".pack-00000.tar.machine-7.tmp", ".objects.parquet.machine-7.tmp"):
        (packed / name).write_bytes(b"half")
    object_folder(tmp_path / "loose", UIDS[0]).mkdir(parents=True)
    (object_folder(tmp_path / "loose", UIDS[0]) / "record.json").write_text("{}")
    (pack,) = write_packs(tmp_path / "loose", UIDS[:1], packed, 3)
    assert list(packed.iterdir()) == [pack]


def test_what_is_unpacked_is_on_the_disk_before_it_is_taken_for_whole(
    packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    back, flushed = tmp_path / "back", list[bool]()
    monkeypatch.setattr(os, "sync", lambda: flushed.append(object_folder(back, UIDS[0]).exists()))
    unpack_missing(packed, back, UIDS[:1])
    assert flushed == [False]
