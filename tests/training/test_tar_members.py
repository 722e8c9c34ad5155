"""Members found in an object's piece of a tar: what `tarfile` finds, from plain headers and from others."""

import io
import tarfile

import pytest

from training.data.members import tar_members


def tar(names: list[str], form: int = tarfile.PAX_FORMAT) -> bytes:
    """A tar whose members are of different sizes, some of them a multiple of a block and one empty."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=form) as archive:
        for number, name in enumerate(names):
            member = tarfile.TarInfo(name)
            member.size = 512 * number if number % 2 else 77 * number
            archive.addfile(member, io.BytesIO(bytes([number]) * member.size))
    return stream.getvalue()


def by_tarfile(data: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return {
            member.name.rpartition("/")[2].partition(".")[2]: archive.extractfile(member).read() for member in archive
        }  # type: ignore[union-attr]


SHORT = ["key.000.png", "key.001.png", "key.cameras.json", "key.empty.txt"]
LONG = [f"{'k' * 120}.{number:03d}.png" for number in range(3)]
FOLDER = [f"{'f' * 90}.2/{'k' * 20}.{number:03d}.png" for number in range(3)]


@pytest.mark.parametrize("names", [SHORT, LONG, FOLDER, ["ключ.000.png", "ключ.cameras.json"]])
@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_members_are_those_that_tarfile_finds(names: list[str], form: int) -> None:
    if names is LONG and form == tarfile.USTAR_FORMAT:
        with pytest.raises(ValueError, match="too long"):
            tar(names, form)
        return
    data = tar(names, form)
    assert {name: bytes(content) for name, content in tar_members(data).items()} == by_tarfile(data)
    assert len(by_tarfile(data)) == len(names)


def test_a_piece_ends_where_the_object_does() -> None:
    whole = tar(SHORT)
    piece = whole.rstrip(b"\0")
    assert list(tar_members(piece + bytes(-len(piece) % 512))) == list(tar_members(whole)) == [n[4:] for n in SHORT]


def test_nothing_is_copied() -> None:
    data = tar(SHORT)
    assert all(content.obj is data for content in tar_members(data).values())


@pytest.mark.parametrize("cut", [700, 1400])
def test_a_piece_cut_short_is_no_tar(cut: int) -> None:
    with pytest.raises(tarfile.TarError):
        tar_members(tar(SHORT)[:cut])


def test_a_size_that_is_no_number_is_an_error() -> None:
    data = bytearray(tar(SHORT))
    data[124:136] = b"what is it?\0"
    with pytest.raises(tarfile.TarError, match="no octal number"):
        tar_members(bytes(data))
