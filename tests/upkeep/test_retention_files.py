"""Scratch, kept predictions, logs and DVC's cache: what goes, and what a version's data keep."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stage.errors import InputError
from stage.workspace import Workspace
from upkeep.retention_cache import CacheCollector
from upkeep.retention_files import LogCollector, ScratchCollector
from upkeep.retention_parameters import RetentionParameters

PARAMETERS = RetentionParameters(scratch_days=10, predictions_days=20, logs_days=30)
DAY = 86_400


def _aged(path: Path, days: float, text: str = "12345") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    then = time.time() - days * DAY
    for changed in (path, *path.parents[:3]):
        os.utime(changed, (then, then))
    return path


def _names(place: Workspace) -> list[tuple[str, str, int]]:
    return [(item.kind, item.name, item.bytes) for item in ScratchCollector(place, PARAMETERS).find()]


def test_scratch_goes_by_the_age_of_its_youngest_file(tmp_path: Path):
    place = Workspace(tmp_path)
    _aged(place.scratch / "renders" / "ab" / "old", 15)
    _aged(place.scratch / "shards" / "part" / "old", 15)
    _aged(place.scratch / "shards" / "part" / "young", 5)
    _aged(place.scratch / "locks" / "train", 99)
    _aged(place.scratch / "tracking" / "run" / "journal.jsonl", 99)
    _aged(place.scratch / "evaluation" / "predictions" / "unseen" / "a", 15)
    _aged(place.scratch / "evaluation" / "unseen" / "a" / "000.png", 15)
    assert _names(place) == [("scratch", "scratch/evaluation/unseen", 5), ("scratch", "scratch/renders", 5)]
    _aged(place.scratch / "evaluation" / "predictions" / "unseen" / "a", 25)
    assert ("predictions", "scratch/evaluation/predictions", 5) in _names(place)
    collector = ScratchCollector(place, PARAMETERS)
    for item in list(collector.find()):
        collector.delete(item)
    assert _names(place) == []
    left = sorted(path.relative_to(place.scratch).as_posix() for path in place.scratch.rglob("*") if path.is_file())
    assert left == ["locks/train", "shards/part/old", "shards/part/young", "tracking/run/journal.jsonl"]


def test_what_a_kill_left_of_a_deletion_goes_at_once_and_a_link_never_does(tmp_path: Path):
    place = Workspace(tmp_path / "workspace")
    _aged(place.scratch / ".renders.collected" / "ab" / "half", 0)
    outside = _aged(tmp_path / "outside" / "renders" / "a", 99)
    (place.scratch / "splatters").symlink_to(outside.parent)
    collector = ScratchCollector(place, PARAMETERS)
    (item,) = collector.find()
    assert item.name == "scratch/.renders.collected"
    collector.delete(item)
    assert outside.read_text() == "12345"


def test_of_logs_the_older_ones_go(tmp_path: Path):
    place = Workspace(tmp_path)
    _aged(tmp_path / ".services" / "mlflow.log", 99)
    _aged(tmp_path / ".services" / "mlflow.log.1", 10)
    gone = _aged(tmp_path / ".services" / "mlflow.log.2", 40)
    _aged(tmp_path / ".services" / "mlflow-auth.ini", 99)
    collector = LogCollector(place, PARAMETERS)
    (item,) = collector.find()
    assert (item.name, item.bytes) == (".services/mlflow.log.2", 5)
    collector.delete(item)
    assert not gone.exists()
    assert list(collector.find()) == []


def _dvc(root: Path, *arguments: str) -> None:
    command = [sys.executable, "-m", "dvc", *arguments]
    result = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def _repro(root: Path, text: str) -> str:
    """Make `data/model/weights` another; the lock."""
    (root / "params.yaml").write_text(f"text: {text}\n")
    _dvc(root, "repro", "--quiet")
    return (root / "dvc.lock").read_text()


def _cached(root: Path) -> set[str]:
    files = (root / ".dvc" / "cache" / "files").rglob("*")
    return {path.read_text() for path in files if path.is_file() and path.suffix != ".dir"}


def test_of_the_cache_stays_what_workspace_versions_and_branches_refer_to(tmp_path: Path):
    root = tmp_path / "workspace"
    root.mkdir()
    for command in (["init", "-q"], ["config", "user.name", "t"], ["config", "user.email", "t@example.org"]):
        subprocess.run(["git", *command], cwd=root, check=True)
    _dvc(root, "init", "--quiet")
    _dvc(root, "config", "core.analytics", "false")
    (root / "dvc.yaml").write_text(
        "stages:\n  train:\n    cmd: mkdir -p data/model && echo ${text} > data/model/weights\n"
        "    outs: [data/model]\n"
    )
    champion = _repro(root, "champion")
    _repro(root, "branch")
    for command in (["add", "."], ["commit", "-qm", "first"], ["branch", "other"]):
        subprocess.run(["git", *command], cwd=root, check=True)
    _repro(root, "forgotten")
    # The stage has another name today, and its outputs are kept all the same.
    (root / "dvc.yaml").write_text((root / "dvc.yaml").read_text().replace("train:", "fit:"))
    _repro(root, "present")
    assert _cached(root) == {"champion\n", "branch\n", "forgotten\n", "present\n"}
    collector = CacheCollector(Workspace(root), [champion, "no: lock", "{"])
    (item,) = collector.find()
    assert item.why == "2 objects that no dvc.lock refers to"
    assert item.bytes > len("forgotten\n")
    collector.delete(item)
    assert _cached(root) == {"champion\n", "branch\n", "present\n"}
    assert list(collector.find()) == []


def test_a_cache_that_is_shared_is_left(tmp_path: Path):
    root = tmp_path / "workspace"
    (root / ".dvc").mkdir(parents=True)
    (root / ".dvc" / "config").write_text(f"[core]\n    no_scm = True\n[cache]\n    dir = {tmp_path / 'shared'}\n")
    with pytest.raises(InputError, match="shared; run dvc gc with --projects"):
        list(CacheCollector(Workspace(root), []).find())


def test_a_folder_without_dvc_has_no_cache(tmp_path: Path):
    assert list(CacheCollector(Workspace(tmp_path), []).find()) == []
