"""Tars that lie about themselves: the walk through one ends, leaves its folder nowhere, and reads no more than it should."""

import gzip
import io
import random
import tarfile
from pathlib import Path

import pytest

from stage.errors import InputError, StageFailedError
from stage.foreign_files import members
from stage.output_root import OutputRoot
from stage.packs import unpack_missing
from training.data import archive_folders
from training.data.members import tar_members
from training.data.shard_check import _first_damage
from training.data.zeronvs_scan import scan_shard

# The sizes that lead a walk from a header back to itself, and to the one before.
BACKWARDS = (b"-1000", b"-2000")
pytestmark = pytest.mark.timeout(60)


def header(name: str, size: bytes, kind: bytes = b"0", target: str = "") -> bytes:
    """A tar header with any text for a size, and the right checksum."""
    member = tarfile.TarInfo(name)
    member.linkname = target
    block = bytearray(member.tobuf(tarfile.USTAR_FORMAT))
    block[124:136], block[148:156], block[156:157] = size.ljust(12, b"\0"), b" " * 8, kind
    block[148:156] = b"%06o\0 " % sum(block[:512])
    return bytes(block)


def pack(folder: Path, *blocks: bytes) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pack-00000.tar").write_bytes(b"".join(blocks) + bytes(10240))
    return folder


@pytest.mark.parametrize("size", [*BACKWARDS, b"+10", b"1_0", b"zz", b"9"])
def test_a_member_whose_size_is_no_octal_number_ends_the_walk(size: bytes) -> None:
    data = header("a.png", b"0") + header("a.json", size) + bytes(2048)
    with pytest.raises(tarfile.TarError, match="no octal number"):
        tar_members(data)


@pytest.mark.parametrize("size", BACKWARDS)
def test_no_walk_goes_back(size: bytes, tmp_path: Path) -> None:
    data = header("a.png", b"0") + header("a.txt", size) + bytes(10240)
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive, pytest.raises(tarfile.TarError):
        list(members(archive))
    assert _first_damage(data) == 512
    with pytest.raises(InputError, match="is damaged"):
        unpack_missing(pack(tmp_path / "packs", data), tmp_path / "out", ["abc"])
    (tmp_path / "shard.tar").write_bytes(data)
    with pytest.raises(InputError, match="is damaged"):
        scan_shard(tmp_path / "shard.tar")


@pytest.mark.parametrize(
    "hostile",
    [
        header("ab/abc/x", b"0", b"2", "../../../../etc/passwd"),
        header("ab/abc/x", b"0", b"2", "innocent"),
        header("ab/abc/x", b"0", b"1", "/etc/passwd"),
        header("ab/abc/x", b"0", b"3"),
        header("ab/abc/x", b"0", b"6"),
        header("../abc/x", b"0"),
        header("/abc/../../x", b"0"),
    ],
    ids=["link out", "link within", "hard link", "device", "pipe", "above", "absolute"],
)
def test_a_pack_with_links_devices_or_paths_out_unpacks_nothing(hostile: bytes, tmp_path: Path) -> None:
    packs = pack(tmp_path / "packs", header("ab/abc/first", b"0"), hostile)
    with pytest.raises(InputError, match="is damaged"):
        unpack_missing(packs, tmp_path / "out", ["abc"])
    assert not [path for path in (tmp_path / "out").rglob("*") if path.name != ".unpacking"]
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(("kind", "target"), [(b"2", "../../outside"), (b"1", "ab/abc/first")])
def test_an_object_from_an_output_root_holds_no_link(kind: bytes, target: str, tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "ab").mkdir(parents=True)
    (root / "ab" / "abc.f1.tar").write_bytes(header("ab/abc/x", b"0", kind, target) + bytes(10240))
    with pytest.raises(StageFailedError, match="link or another special file"):
        OutputRoot(str(root)).fetch("abc", "f1", tmp_path / "out")
    assert not (tmp_path / "out" / "ab" / "abc").exists()


def test_a_folder_of_a_stream_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive_folders, "MAX_FOLDER_BYTES", 3000)
    path = tmp_path / "set.tar"
    with tarfile.open(path, "w:gz") as archive:
        for number in range(4):
            member = tarfile.TarInfo(f"one/{number}.png")
            member.size = 1000
            archive.addfile(member, io.BytesIO(bytes(1000)))
    with pytest.raises(InputError, match="holds a folder one of 4,000 bytes"):
        list(archive_folders.folders_in_archive(path))


@pytest.mark.parametrize(
    "kind", [tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE]
)
def test_a_name_of_gigabytes_is_not_read(kind: bytes, tmp_path: Path) -> None:
    """Compressed it is a file of a few megabytes."""
    path = tmp_path / "set.tar"
    with gzip.open(path, "wb") as stream:
        stream.write(header("name", b"%011o" % 2**31, kind) + bytes(10240))
    with pytest.raises(InputError, match=r"a name or attributes of 2,147,483,648 bytes"):
        list(archive_folders.folders_in_archive(path))


def test_a_long_name_is_no_attack(tmp_path: Path) -> None:
    path, name = tmp_path / "set.tar", f"{'folder' * 30}/{'name' * 40}.png"
    for number, form in enumerate((tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)):
        with tarfile.open(path, "w:gz", format=form) as archive:
            member = tarfile.TarInfo(name)
            member.size = number
            archive.addfile(member, io.BytesIO(bytes(number)))
        assert list(archive_folders.folders_in_archive(path)) == [
            ("folder" * 30, {f"{'name' * 40}.png": bytes(number)})
        ]


def test_a_member_of_a_shard_is_not_inflated() -> None:
    """What a shard holds of an object is a plain tar; a compressed one might be any size."""
    content = random.Random(0).randbytes(4096)
    data = gzip.compress(header("a.png", b"%011o" % len(content)) + content + bytes(10240))
    with pytest.raises(tarfile.TarError):
        tar_members(data)
