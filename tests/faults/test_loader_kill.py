"""A program that reads is killed in mid-epoch while its workers decode; from its last saved place the samples go on exactly."""

import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterable
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from blender_render.camera_sets import View
from geometry.cameras import Intrinsics
from training.data.batches import ViewBatch, ViewChoice
from training.data.cameras_file import cameras_file
from training.data.index import IndexRow, write_index
from training.data.loader import PlannedLoader
from training.data.mixture import Mixed
from training.data.plan import Plan
from training.data.reader import ShardReader

pytestmark = pytest.mark.slow

OBJECTS, VIEWS, SIZE, BATCHES = 20, 5, 24, 40
PLAN = Plan((Mixed("objects", OBJECTS, draws=2),), batch_size=4, seed=9)
# What the program does after every batch: a line with the place to go on at, and what the batch held.
_READER = """
import json, sys, time
sys.path.insert(0, sys.argv[1])
from test_loader_kill import contents, loader
reading = loader(sys.argv[2], workers=2)
for batch in reading:
    print(json.dumps([reading.state_dict(), contents([batch])]), flush=True)
    time.sleep(0.01)
"""


def loader(folder: str | Path, **options: int) -> PlannedLoader:
    return PlannedLoader(PLAN, {"objects": ShardReader(Path(folder), "train")}, ViewChoice(drawn=2), **options)


def contents(batches: Iterable[ViewBatch]) -> list[list[object]]:
    """Object, views and a hash of the pixels of every sample."""
    return [
        [uid, views.tolist(), hashlib.sha256(rgba.numpy().tobytes()).hexdigest()]
        for batch in batches
        for uid, views, rgba in zip(batch.uids, batch.views, batch.rgba, strict=True)
    ]


def write_object(archive: tarfile.TarFile, key: str, chance: np.random.Generator) -> None:
    cameras = [View(np.eye(4), Intrinsics.from_fov(0.8, SIZE))] * VIEWS
    members = {"cameras.json": cameras_file(cameras)}
    for view in range(VIEWS):
        stream = io.BytesIO()
        Image.fromarray(chance.integers(0, 256, (SIZE, SIZE, 4), dtype=np.uint8)).save(stream, "png")
        members[f"{view:03d}.png"] = stream.getvalue()
    for name, data in members.items():
        member = tarfile.TarInfo(f"{key}.{name}")
        member.size = len(data)
        archive.addfile(member, io.BytesIO(data))


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Objects of noise, so that no two pictures are alike."""
    folder = tmp_path_factory.mktemp("shards")
    ends = [0]
    with tarfile.open(folder / "train-000000.tar", "w") as archive:
        for number in range(OBJECTS):
            write_object(archive, f"object{number:02d}", np.random.default_rng(number))
            ends.append(archive.offset)
    data = (folder / "train-000000.tar").read_bytes()
    rows = [
        IndexRow(
            shard="train-000000.tar",
            key=f"object{number:02d}",
            offset=start,
            size=stop - start,
            sha256=hashlib.sha256(data[start:stop]).hexdigest(),
            views=VIEWS,
            split="train",
            licence="CC0-1.0",
            source="folder",
        )
        for number, (start, stop) in enumerate(pairwise(ends))
    ]
    write_index(folder, rows)
    return folder


def read_until_killed(folder: Path, log: Path, batches: int, program_environment: dict[str, str]) -> list[list]:
    """Let a program read some batches, then SIGKILL it; the lines that it had written whole."""
    here = Path(__file__).resolve()
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-c", _READER, here.parent, folder],
            stdout=out,
            cwd=here.parents[2],
            env=program_environment,
        )
    deadline = time.monotonic() + 120
    while log.read_bytes().count(b"\n") < batches:
        assert process.poll() is None, "the program ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.005)
    workers = psutil.Process(process.pid).children(recursive=True)
    assert len(workers) == 2
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    _, alive = psutil.wait_procs(workers, 30)
    assert not alive, "workers end with the program"
    whole = log.read_bytes().rpartition(b"\n")[0]
    return [json.loads(line) for line in whole.splitlines()]


@pytest.mark.parametrize("batches", [3, 14])
def test_the_samples_go_on_exactly_after_a_kill(
    shards: Path, tmp_path: Path, batches: int, program_environment: dict[str, str]
) -> None:
    lines = read_until_killed(shards, tmp_path / "log", batches, program_environment)
    before = [sample for _, samples in lines for sample in samples]
    state, undisturbed = lines[-1][0], contents(islice(loader(shards), len(lines) + BATCHES))
    assert state["batch"] % PLAN.batches == len(lines) % PLAN.batches
    for workers in (0, 1, 2):
        after = loader(shards, workers=workers)
        after.load_state_dict(state)
        assert before + contents(islice(after, BATCHES)) == undisturbed
    ranks = [loader(shards, rank=rank, ranks=2, workers=1) for rank in range(2)]
    for rank in ranks:
        rank.load_state_dict(state)
    parts = [islice(rank, BATCHES) for rank in ranks]
    assert before + [sample for share in zip(*parts, strict=True) for sample in contents(share)] == undisturbed
