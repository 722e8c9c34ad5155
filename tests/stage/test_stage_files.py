"""Files that are whole or absent, whatever happens to the writer: an exception, a kill, a full disk."""

import errno
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stage.files import (
    file_sha256,
    folder_sha256,
    json_sha256,
    remove_leftovers,
    replacing,
    replacing_folder,
    write_bytes,
    write_json,
    write_text,
)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def python(code: str, *arguments: object) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def _write_file(path: Path, fail: bool) -> None:
    with replacing(path) as temporary:
        temporary.write_text("new")
        if fail:
            raise RuntimeError


def _write_folder(path: Path, fail: bool) -> None:
    with replacing_folder(path) as temporary:
        (temporary / "content").write_text("new")
        if fail:
            raise RuntimeError


def _content(path: Path) -> str:
    return (path / "content" if path.is_dir() else path).read_text()


@pytest.fixture(params=[_write_file, _write_folder], ids=["file", "folder"])
def write(request: pytest.FixtureRequest) -> Callable[[Path, bool], None]:
    writer: Callable[[Path, bool], None] = request.param
    return writer


def test_a_success_replaces_what_was_there(write: Callable[[Path, bool], None], tmp_path: Path) -> None:
    target = tmp_path / "deep" / "target"
    write(target, False)
    write(target, False)
    assert _content(target) == "new"
    assert names(target.parent) == ["target"], "nothing temporary is left"


def test_an_exception_leaves_no_file_where_there_was_none(write: Callable[[Path, bool], None], tmp_path: Path) -> None:
    with pytest.raises(RuntimeError):
        write(tmp_path / "target", True)
    assert names(tmp_path) == []


def test_an_exception_leaves_the_old_one(write: Callable[[Path, bool], None], tmp_path: Path) -> None:
    target = tmp_path / "target"
    write(target, False)
    (target / "content" if target.is_dir() else target).write_text("old")
    with pytest.raises(RuntimeError):
        write(target, True)
    assert _content(target) == "old"
    assert names(tmp_path) == ["target"]


def test_a_folder_is_replaced_as_a_whole(tmp_path: Path) -> None:
    for name in ("first", "second"):
        with replacing_folder(tmp_path / "target") as folder:
            (folder / name).touch()
    assert names(tmp_path / "target") == ["second"]


_KILLED = """
    import os, signal, sys
    from pathlib import Path
    from stage.files import replacing, replacing_folder
    target = Path(sys.argv[1])
    if sys.argv[2] == "file":
        with replacing(target) as temporary:
            temporary.write_text("half")
            os.kill(os.getpid(), signal.SIGKILL)
    with replacing_folder(target) as temporary:
        (temporary / "content").write_text("half")
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_killed_writer_leaves_no_final_name(kind: str, tmp_path: Path) -> None:
    (tmp_path / "ab").mkdir()
    target = tmp_path / "ab" / "target"
    assert python(_KILLED, target, kind).returncode == -signal.SIGKILL
    assert not target.exists()
    assert all(name.startswith(".") for name in names(target.parent))
    remove_leftovers(tmp_path)
    assert names(target.parent) == []


def test_leftovers_are_removed_and_nothing_else(tmp_path: Path) -> None:
    kept = [tmp_path / "ab" / "abc" / "000.png", tmp_path / "note.tmp", tmp_path / ".hidden"]
    for path in kept:
        write_text(path, "mine")
    (tmp_path / ".pack.tar.77.tmp").touch()
    (tmp_path / "ab" / ".abd.77.tmp").mkdir()
    (tmp_path / "ab" / ".abd.77.old").mkdir()
    remove_leftovers(tmp_path)
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == sorted(kept)
    assert names(tmp_path / "ab") == ["abc"]


_LIMITED = """
    import resource, signal, sys
    from pathlib import Path
    from stage.files import write_bytes
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
    try:
        write_bytes(Path(sys.argv[1]), b"n" * 5000)
    except OSError as error:
        print(error.errno)
"""


def test_a_file_too_large_leaves_the_old_one(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("old")
    assert python(_LIMITED, target).stdout.strip() == str(errno.EFBIG)
    assert target.read_text() == "old"
    assert names(tmp_path) == ["target"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own with 64 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small tmpfs needs root and the right to mount")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_leaves_the_old_file_and_gives_its_space_back(small_disk: Path) -> None:
    target = small_disk / "target"
    write_bytes(target, b"old" * 1000)
    with pytest.raises(OSError, match="No space left") as caught:
        write_bytes(target, b"n" * 200_000)
    assert caught.value.errno == errno.ENOSPC
    assert target.read_bytes() == b"old" * 1000
    assert names(small_disk) == ["target"]
    write_bytes(target, b"n" * 20_000)


def test_a_full_disk_leaves_the_old_folder(small_disk: Path) -> None:
    def fill(size: int) -> None:
        with replacing_folder(small_disk / "target") as folder:
            (folder / "small").write_bytes(b"s")
            (folder / "large").write_bytes(b"l" * size)

    fill(100)
    with pytest.raises(OSError, match="No space left"):
        fill(200_000)
    assert (small_disk / "target" / "large").read_bytes() == b"l" * 100
    assert names(small_disk) == ["target"]


def test_json_has_the_same_bytes_whatever_the_order_of_its_keys(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"x": 1, "y": [1.5, None]})
    write_json(tmp_path / "b.json", {"y": [1.5, None], "x": 1})
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def test_json_that_others_could_not_read_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", {"psnr": float("nan")})
    assert names(tmp_path) == []


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@settings(deadline=None)
@given(mapping=st.dictionaries(st.text(), json_values, min_size=2))
def test_the_hash_of_json_ignores_the_order_of_keys_alone(mapping: dict[str, Any]) -> None:
    assert json_sha256(dict(reversed(mapping.items()))) == json_sha256(mapping)
    key = next(iter(mapping))
    assert json_sha256({**mapping, key: [mapping[key]]}) != json_sha256(mapping)


def test_the_hash_of_a_file_is_the_one_that_everyone_computes(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"abc")
    assert file_sha256(tmp_path / "f") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_the_hash_of_a_folder_tells_contents_and_names(tmp_path: Path) -> None:
    for name in ("one", "other"):
        write_text(tmp_path / name / "sub" / "f", "text")
        write_text(tmp_path / name / "log", name)
    ignore = frozenset({"log"})
    assert folder_sha256(tmp_path / "one", ignore) == folder_sha256(tmp_path / "other", ignore)
    assert folder_sha256(tmp_path / "one") != folder_sha256(tmp_path / "other")
    (tmp_path / "one" / "sub" / "f").rename(tmp_path / "one" / "sub" / "g")
    assert folder_sha256(tmp_path / "one", ignore) != folder_sha256(tmp_path / "other", ignore)
