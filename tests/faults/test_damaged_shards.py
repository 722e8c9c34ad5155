"""Shards that are not as they were written, read through the loader: no batch holds a wrong pixel, each damage is named once."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_shard_faults import SMALL, UIDS, rendered

from stage.errors import StageFailedError
from stage.packs import object_folder
from stage.workspace import Workspace
from training.data.batches import ViewChoice
from training.data.index import IndexRow, read_index
from training.data.loader import PlannedLoader
from training.data.mixture import Mixed
from training.data.plan import Plan
from training.data.reader import ShardReader
from training.data.verify import verify
from training.data.writer import write_shards


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Two objects a shard. Read only."""
    workspace = rendered(tmp_path_factory.mktemp("whole") / "workspace", UIDS)
    write_shards(SMALL, workspace)
    return workspace


@pytest.fixture
def folder(whole: Workspace, tmp_path: Path) -> Path:
    """A copy of the shards."""
    return Path(shutil.copytree(whole.shards, tmp_path / "shards"))


def truncated(shard: Path, _: Path) -> None:
    shard.write_bytes(shard.read_bytes()[:3000])


def flipped(shard: Path, _: Path) -> None:
    data = bytearray(shard.read_bytes())
    for place in (1700, len(data) // 2 + 100):
        data[place] ^= 1
    shard.write_bytes(data)


def stale(shard: Path, other: Path) -> None:
    """The index is of another shard of the same length."""
    shutil.copy(other, shard)


def missing(shard: Path, _: Path) -> None:
    shard.unlink()


def loader(reader: ShardReader, max_failure_rate: float) -> PlannedLoader:
    plan = Plan((Mixed("objects", len(reader)),), batch_size=3, seed=1)
    choice = ViewChoice(fixed=(0,), drawn=0)
    return PlannedLoader(plan, {"objects": reader}, choice, max_failure_rate=max_failure_rate)


def names_it(message: str, shard: Path, lost: list[IndexRow], gone: bool) -> bool:
    """Whether a message is one line with the place: folder and shard, and of a shard that is there also object and byte."""
    at = re.search(r"at byte (\d+), object (\w+)", message)
    within = at and any(row.key == at[2] and row.offset <= int(at[1]) < row.offset + row.size for row in lost)
    return "\n" not in message and str(shard.parent) in message and shard.name in message and bool(gone or within)


@pytest.mark.parametrize("harm", [truncated, flipped, stale, missing])
def test_damage_is_named_and_never_in_a_batch(
    whole: Workspace, folder: Path, harm: Callable[[Path, Path], None]
) -> None:
    # Opened before the harm is done, as by a run that goes on for days.
    reading = loader(ShardReader(folder, "train"), max_failure_rate=0.5)
    shards = sorted(folder.glob("*.tar"))
    harm(shards[1], shards[2])
    lost = [row for row in read_index(whole.shards) if row.shard == shards[1].name]
    seen = set()
    for batch in reading.epoch():
        for uid, rgba in zip(batch.uids, batch.rgba, strict=True):
            with Image.open(object_folder(whole.scratch / "renders", uid) / "000.png") as picture:
                np.testing.assert_array_equal(rgba[0].numpy(), np.asarray(picture))
            seen.add(uid)
    assert len(lost) == 2
    assert seen == set(UIDS) - {row.key for row in lost}
    assert len(reading.damaged) == len(lost)
    assert all(names_it(damage.message, shards[1], lost, harm is missing) for damage in reading.damaged)
    assert {damage.shard for damage in verify(folder).damages} == {shards[1].name}


def test_a_run_over_its_limit_of_damage_ends_and_says_where(folder: Path) -> None:
    reading = loader(ShardReader(folder, "train"), max_failure_rate=0.1)
    shards = sorted(folder.glob("*.tar"))
    truncated(shards[1], shards[2])
    with pytest.raises(StageFailedError, match=rf"over the limit of 10%.*{shards[1].name} .*object 00[23]"):
        list(reading.epoch())
