"""Zip archives of strangers: what is unpacked, and what is refused before or while it is."""

import io
import stat
import struct
import zipfile
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog.archive import ArchiveParameters, unpack
from stage.failures import FailureClass, ObjectFailedError

LIMITS = ArchiveParameters(max_bytes=20_000_000, max_entries=50, max_ratio=100)


def zipped(*entries: tuple[str | zipfile.ZipInfo, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries:
            archive.writestr(name, data)
    return buffer.getvalue()


def refused(folder: Path, data: bytes, limits: ArchiveParameters = LIMITS) -> ObjectFailedError:
    """The failure of unpacking, after which nothing may be left anywhere."""
    inner = folder / "inner"
    inner.mkdir(exist_ok=True)
    (inner / "a.zip").write_bytes(data)
    with pytest.raises(ObjectFailedError) as caught:
        unpack(inner / "a.zip", inner / "target", limits)
    assert [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*"))] == ["inner", "inner/a.zip"]
    assert "\n" not in str(caught.value)
    return caught.value


def unpacked(folder: Path, data: bytes, limits: ArchiveParameters = LIMITS) -> dict[str, bytes]:
    (folder / "a.zip").write_bytes(data)
    target = folder / "target"
    unpack(folder / "a.zip", target, limits)
    return {path.relative_to(target).as_posix(): path.read_bytes() for path in target.rglob("*") if path.is_file()}


def special(mode: int, name: str = "link") -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name)
    entry.create_system, entry.external_attr = 3, (mode | 0o777) << 16
    return entry


def test_files_and_folders_come_out(tmp_path: Path) -> None:
    data = zipped(
        ("empty/", b""),
        ("meshes/model.obj", b"v 0 0 0"),
        ("./über.txt", b"u"),
        ("a/b/../b".replace("../b", "c"), b"c"),
    )
    assert unpacked(tmp_path, data) == {"meshes/model.obj": b"v 0 0 0", "über.txt": b"u", "a/b/c": b"c"}
    assert (tmp_path / "target" / "empty").is_dir()


def test_a_folder_that_is_there_gives_way_only_to_a_whole_one(tmp_path: Path) -> None:
    unpacked(tmp_path, zipped(("old", b"old")))
    (tmp_path / "a.zip").write_bytes(zipped(("new", b"new"), ("../x", b"")))
    with pytest.raises(ObjectFailedError):
        unpack(tmp_path / "a.zip", tmp_path / "target", LIMITS)
    assert [path.name for path in (tmp_path / "target").iterdir()] == ["old"]
    assert unpacked(tmp_path, zipped(("new", b"new"))) == {"new": b"new"}


@pytest.mark.parametrize(
    "name",
    [
        "../outside",
        "a/../../outside",
        "a/..",
        "..",
        "/outside",
        "//outside",
        "\\outside",
        "..\\outside",
        "a\\..\\..\\outside",
        "C:\\outside",
        "C:outside",
        "a/file:stream",
        "new\nline",
        "x" * 256,
        "/".join("d" * 40),
        "/".join(["long" * 50] * 6),
        ".",
    ],
)
def test_names_that_lead_elsewhere_are_refused(name: str, tmp_path: Path) -> None:
    error = refused(tmp_path, zipped(("fine", b"fine"), (name, b"data")))
    assert error.failure is FailureClass.UNSAFE
    assert str(error).startswith("a.zip holds an entry named ")


def test_a_name_that_is_cut_at_a_zero_byte_is_refused(tmp_path: Path) -> None:
    data = zipped(("fineX/../../x", b"data")).replace(b"fineX/../../x", b"fine\0/../../x")
    assert refused(tmp_path, data).failure is FailureClass.UNSAFE


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFSOCK, stat.S_IFDIR])
def test_links_and_special_files_are_refused(kind: int, tmp_path: Path) -> None:
    error = refused(tmp_path, zipped((special(kind), b"/etc/passwd")))
    assert error.failure is FailureClass.UNSAFE
    assert "'link', which is a link or another special file" in str(error)


def test_a_regular_file_of_unix_loses_its_mode(tmp_path: Path) -> None:
    unpacked(tmp_path, zipped((special(stat.S_IFREG | stat.S_ISUID, "file"), b"data")))
    assert not (tmp_path / "target" / "file").stat().st_mode & (stat.S_ISUID | 0o111)


@pytest.mark.parametrize(
    ("first", "second"),
    [("a/B.png", "a/b.PNG"), ("a", "./a"), ("caf\u00e9", "cafe\u0301"), ("straße", "STRASSE")],
)
def test_no_entry_replaces_another(first: str, second: str, tmp_path: Path) -> None:
    error = refused(tmp_path, zipped((first, b"1"), (second, b"2")))
    assert error.failure is FailureClass.UNSAFE
    assert "twice" in str(error)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_no_entry_comes_twice(tmp_path: Path) -> None:
    assert "holds 'a' twice" in str(refused(tmp_path, zipped(("a", b"1"), ("a", b"2"))))


@pytest.mark.parametrize("names", [("a", "a/b"), ("a/b", "A"), ("a", "a/"), ("a/", "A")])
def test_nothing_lies_below_a_file(names: tuple[str, str], tmp_path: Path) -> None:
    entries = [(name, b"" if name.endswith("/") else b"data") for name in names]
    assert refused(tmp_path, zipped(*entries)).failure is FailureClass.UNSAFE


@pytest.mark.parametrize("bit", [0x1, 0x40])
def test_what_is_encrypted_is_refused(bit: int, tmp_path: Path) -> None:
    data = bytearray(zipped(("a", b"data")))
    directory = data.index(b"PK\1\2")
    struct.pack_into("<H", data, directory + 8, bit)
    error = refused(tmp_path, bytes(data))
    assert error.failure is FailureClass.UNSAFE
    assert "encrypted" in str(error)


def test_a_bomb_is_defused(tmp_path: Path) -> None:
    bomb = zipped(("bomb", bytes(10_000_000)))
    assert len(bomb) < 20_000
    error = refused(tmp_path, bomb)
    assert error.failure is FailureClass.UNSAFE
    assert "for its size" in str(error)
    assert len(unpacked(tmp_path, bomb, ArchiveParameters(max_ratio=2000))["bomb"]) == 10_000_000


def test_a_bomb_whose_header_claims_a_harmless_ratio_is_defused(tmp_path: Path) -> None:
    data = bytearray(zipped(("bomb", bytes(10_000_000))))
    struct.pack_into("<I", data, data.index(b"PK\1\2") + 20, len(data) - 150)
    with zipfile.ZipFile(io.BytesIO(bytes(data))) as archive:
        assert archive.infolist()[0].compress_size == len(data) - 150
    assert refused(tmp_path, bytes(data)).failure in {FailureClass.UNSAFE, FailureClass.PARSE}


def test_many_small_bombs_are_one(tmp_path: Path) -> None:
    data = zipped(*[(f"bomb{n}", bytes(900_000)) for n in range(40)])
    assert "for its size" in str(refused(tmp_path, data))


def test_too_many_bytes_are_refused_however_well_they_are_packed(tmp_path: Path) -> None:
    data = zipped(("a", bytes(range(256)) * 4), ("b", bytes(range(256)) * 4))
    error = refused(tmp_path, data, ArchiveParameters(max_bytes=2047))
    assert (error.failure, str(error)) == (FailureClass.UNSAFE, "a.zip unpacks to more than 2047 bytes")
    assert unpacked(tmp_path, data, ArchiveParameters(max_bytes=2048))


def test_too_many_entries_are_refused(tmp_path: Path) -> None:
    data = zipped(*[(f"{n}/", b"") for n in range(51)])
    assert str(refused(tmp_path, data)) == "a.zip holds 51 entries, over the limit of 50"
    unpacked(tmp_path, zipped(*[(f"{n}/", b"") for n in range(50)]))


def damaged_archives() -> dict[str, bytes]:
    whole = zipped(("a", b"some text " * 100), ("b", b"other text " * 100))
    content = bytearray(whole)
    content[40] ^= 0xFF
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("a", b"text" * 100)
    return {
        "empty": b"",
        "a page": b"<html>not found</html>",
        "truncated": whole[:-30],
        "headless": whole[40:],
        "content": bytes(content),
        "bzip2": buffer.getvalue(),
    }


@pytest.mark.parametrize("kind", damaged_archives())
def test_a_damaged_archive_is_one_line(kind: str, tmp_path: Path) -> None:
    error = refused(tmp_path, damaged_archives()[kind])
    assert error.failure is FailureClass.PARSE
    assert str(error).startswith("a.zip is no whole zip archive: ")


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_no_damage_whatever_brings_anything_but_a_verdict(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    archive = bytearray(zipped(("a/b", b"text " * 50), ("c/", b""), ("d", bytes(3000))))
    for _ in range(data.draw(st.integers(1, 4))):
        archive[data.draw(st.integers(0, len(archive) - 1))] = data.draw(st.integers(0, 255))
    folder = tmp_path_factory.mktemp("fuzz")
    (folder / "a.zip").write_bytes(archive)
    # Anything but a verdict would be raised here.
    with suppress(ObjectFailedError):
        unpack(folder / "a.zip", folder / "target", LIMITS)
    assert {path.name for path in folder.iterdir()} <= {"a.zip", "target"}


def test_a_target_that_cannot_be_written_is_not_the_archives_fault(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(zipped(("a", b"data")))
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"Not a directory|File exists"):
        unpack(tmp_path / "a.zip", tmp_path / "file" / "target", LIMITS)
