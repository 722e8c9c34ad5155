"""The writer of shards killed while it sends them to an object store: nothing half-written is read, and what arrived is kept.

The moment of each kill is no matter of luck: the store stops answering at the request that the drill is about, or
`standstill/sitecustomize.py` makes the process stand still before it notes what has arrived.
"""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import boto3
import pytest
from object_store import ObjectStore, door_of, empty_bucket, reach, s3_server
from test_shard_faults import UIDS, complete, rendered, small_disk  # noqa: F401

from stage.errors import InputError
from stage.workspace import Workspace
from training.data.index import INDEX
from training.data.reader import ShardReader
from training.data.verify import verify
from training.data.writer_lock import LOCK

pytestmark = pytest.mark.slow

STANDSTILL = Path(__file__).parent / "standstill"
URL, PREFIX = "s3://sets/shards", "shards/"


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectStore]:
    with s3_server() as behind, door_of(behind) as door:
        reach(door, monkeypatch)
        empty_bucket("sets")
        yield door


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return made(tmp_path / "workspace")


def made(root: Path, size: int = 8192, place: str = URL) -> Workspace:
    workspace = rendered(root, UIDS)
    parameterised(workspace, size, place)
    return workspace


def parameterised(workspace: Workspace, size: int, place: str = URL) -> None:
    workspace.parameters.write_text(f"shard: {{max_bytes: {size}, workers: 1, output_root: '{place}'}}\n")


def command(workspace: Workspace) -> list[str]:
    return [sys.executable, "-m", "cli.main", "shard", "-w", str(workspace.root)]


def run(workspace: Workspace) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command(workspace), capture_output=True, text=True, check=False, timeout=200)


def wait_until(happened: Callable[[], bool], process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 200
    while not happened():
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.02)


def receipts(workspace: Workspace) -> int:
    return len(list((workspace.scratch / "shards" / "delivered").glob("[!.]*")))


def objects() -> dict[str, bytes]:
    found = boto3.resource("s3").Bucket("sets").objects.filter(Prefix=PREFIX)
    return {each.key.removeprefix(PREFIX): each.get()["Body"].read() for each in found}


def undisturbed(folder: Path, size: int = 8192) -> dict[str, bytes]:
    """The files of the same set, written at one go."""
    assert run(made(folder / "undisturbed", size, "../far")).returncode == 0
    return {path.name: path.read_bytes() for path in (folder / "far").iterdir()}


def test_killed_in_the_middle_of_an_upload(workspace: Workspace, tmp_path: Path, store: ObjectStore) -> None:
    store.fail("PUT", r".*\.tar", "standing", after=1, times=1000)
    process = subprocess.Popen(command(workspace))
    wait_until(lambda: store.standing.is_set() and receipts(workspace) == 1, process)
    other = made(tmp_path / "other")
    refused = run(other)
    assert refused.returncode == 1
    assert f"{URL} is held by another writer, process {process.pid} on " in refused.stderr
    process.kill()
    process.wait()
    arrived = objects().keys() - {LOCK}
    assert len(arrived) == 1
    with pytest.raises(InputError, match=INDEX):
        ShardReader(URL, "train")
    # Whether the first writer is dead cannot be told from another workspace.
    assert f"delete {URL}/{LOCK}" in run(other).stderr
    store.mend()
    store.seen.clear()
    result = run(workspace)
    assert result.returncode == 0, result.stderr
    assert not arrived & set(store.puts()), "what had arrived was sent again"
    assert objects() == undisturbed(tmp_path)
    assert verify(URL).damages == []


def test_killed_between_an_upload_and_its_receipt(
    workspace: Workspace, tmp_path: Path, store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    note = tmp_path / "standing"
    with monkeypatch.context() as patch:
        patch.setenv("PYTHONPATH", f"{STANDSTILL}:{Path(__file__).resolve().parents[2]}")
        patch.setenv("STANDSTILL_PIECES", str(workspace.scratch.resolve() / "shards" / "delivered" / "[!.]*"))
        patch.setenv("STANDSTILL_NOTE", str(note))
        process = subprocess.Popen(command(workspace))
    wait_until(note.exists, process)
    process.kill()
    process.wait()
    assert receipts(workspace) < len(objects().keys() - {LOCK})
    result = run(workspace)
    assert result.returncode == 0, result.stderr
    assert objects() == undisturbed(tmp_path)


def test_killed_while_a_set_grows_the_old_one_is_read(workspace: Workspace, store: ObjectStore) -> None:
    complete(workspace, UIDS[:5])
    assert run(workspace).returncode == 0
    before = verify(URL)
    complete(workspace, UIDS[2:])
    store.fail("PUT", r".*\.tar", "standing", after=1, times=1000)
    process = subprocess.Popen(command(workspace))
    wait_until(lambda: store.standing.is_set() and receipts(workspace) == 1, process)
    process.kill()
    process.wait()
    for place in (URL, workspace.shards):
        found = verify(place)
        assert {damage.what for damage in found.damages} <= {f"{INDEX} does not list this shard"}
        assert found.objects == before.objects == 5
    store.mend()
    assert run(workspace).returncode == 0
    assert verify(URL).damages == []
    assert [row.key for row in ShardReader(URL, "train").rows] == UIDS[2:]


def test_killed_while_new_shards_take_the_place_of_old_ones(
    workspace: Workspace, tmp_path: Path, store: ObjectStore
) -> None:
    assert run(workspace).returncode == 0
    parameterised(workspace, 16384)
    store.fail("PUT", r".*/train-000001\.tar", "standing", times=1000)
    process = subprocess.Popen(command(workspace))
    wait_until(store.standing.is_set, process)
    process.kill()
    process.wait()
    for place in (URL, workspace.shards):
        with pytest.raises(InputError, match=INDEX):
            ShardReader(place, "train")
    store.mend()
    store.seen.clear()
    assert run(workspace).returncode == 0
    assert not [
        each for each in store.seen if each.method == "PUT" and each.path.rpartition("/")[2].startswith("waiting-")
    ]
    assert objects() == undisturbed(tmp_path, 16384)


def test_a_full_disk_elsewhere_is_one_line_and_a_rerun_continues(tmp_path: Path, small_disk: Path) -> None:  # noqa: F811
    workspace = rendered(tmp_path / "workspace", UIDS, size=64)
    far = small_disk / "far"
    parameterised(workspace, 20000, str(far))
    result = run(workspace)
    assert result.returncode == 1
    assert len(result.stderr.strip().splitlines()) == 1
    assert "no space left on the disk" in result.stderr
    finished = {path.name: path.stat().st_mtime_ns for path in far.glob("*.tar")}
    assert finished
    assert not (far / INDEX).exists()
    assert not list(far.glob(".*"))
    subprocess.run(["mount", "-o", "remount,size=30m", small_disk], check=True)
    assert run(workspace).returncode == 0
    assert verify(far).damages == []
    assert {name: (far / name).stat().st_mtime_ns for name in finished} == finished, "sent again"
