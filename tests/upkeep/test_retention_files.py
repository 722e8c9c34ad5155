"""Scratch, kept predictions, logs and DVC's cache: what goes, and what a version's data keep."""

import hashlib
import json
import os
import shutil
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
    for name in ("renders", "shards"):
        (tmp_path / "data" / name).mkdir(parents=True)
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


def test_what_cannot_be_made_again_and_a_training_that_is_not_done_stay(tmp_path: Path):
    place = Workspace(tmp_path)
    done, waits = "d" * 16, "e" * 16
    _aged(place.scratch / "stages" / "render.json", 99)
    _aged(place.scratch / "launch" / "slurm.json", 99)
    _aged(place.scratch / "assets" / "ab" / "the only copy.glb", 99)
    _aged(place.scratch / "renders" / "ab" / "of no pack yet", 99)
    _aged(place.scratch / "of a person" / "notes", 99)
    for name in (done, waits):
        _aged(place.scratch / "training" / name / "checkpoints" / "step-5" / "model", 99)
        _aged(place.scratch / "training" / name / "loss.csv", 99)
        os.utime(place.scratch / "training" / name, (1, 1))
        os.utime(place.scratch / "training" / name / "checkpoints", (1, 1))
    assert _names(place) == []
    place.model.mkdir(parents=True)
    (place.model / "provenance.json").write_text(json.dumps({"fingerprint": done + "0" * 48}))
    (tmp_path / "data" / "renders").mkdir()
    assert [name for _, name, _ in _names(place)] == ["scratch/renders", f"scratch/training/{done}"]


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
    collector = CacheCollector(Workspace(root), [champion, "schema: '2.0'"])
    (item,) = collector.find()
    assert item.why == "2 objects that no dvc.lock refers to"
    assert item.bytes > len("forgotten\n")
    collector.delete(item)
    assert _cached(root) == {"champion\n", "branch\n", "present\n"}
    assert list(collector.find()) == []


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace whose cache has an object that nobody needs, and one that is added on another branch alone."""
    root = tmp_path_factory.mktemp("repository")
    for command in (["init", "-q"], ["config", "user.name", "t"], ["config", "user.email", "t@example.org"]):
        subprocess.run(["git", *command], cwd=root, check=True)
    _dvc(root, "init", "--quiet")
    (root / "dvc.yaml").write_text("stages:\n  train:\n    cmd: echo ${text} > weights\n    outs: [weights]\n")
    _repro(root, "forgotten")
    _repro(root, "present")
    for command in (["add", "."], ["commit", "-qm", "first"], ["checkout", "-qb", "other"]):
        subprocess.run(["git", *command], cwd=root, check=True)
    (root / "input").write_text("added\n")
    _dvc(root, "add", "--quiet", "input")
    for command in (["add", "."], ["commit", "-qm", "second"], ["checkout", "-q", "-"]):
        subprocess.run(["git", *command], cwd=root, check=True)
    (root / "input").unlink()
    return root


@pytest.mark.parametrize("lock", ["no: lock", "{", "stages: {a: {outs: [{md5: x}]}}"])
def test_a_version_whose_lock_cannot_be_read_leaves_the_cache(repository: Path, lock: str):
    with pytest.raises(InputError, match="a version cannot be read"):
        list(CacheCollector(Workspace(repository), [lock]).find())


def test_without_a_lock_or_beside_an_experiment_the_cache_is_left(repository: Path):
    lock = repository / "dvc.lock"
    lock.rename(repository / "aside")
    try:
        for left in (None, "schema: '2.0'\n"):
            # As a killed DVC may leave it.
            if left:
                lock.write_text(left)
            with pytest.raises(InputError, match=r"no dvc\.lock in"):
                list(CacheCollector(Workspace(repository), []).find())
    finally:
        (repository / "aside").rename(lock)
    running = repository / ".dvc" / "tmp" / "exps" / "tmp12"
    running.mkdir(parents=True)
    with pytest.raises(InputError, match=r"works in .*tmp12"):
        list(CacheCollector(Workspace(repository), []).find())
    running.rmdir()


def test_git_that_does_not_answer_leaves_the_cache(repository: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("upkeep.dvc_references.git", lambda *_: None)
    with pytest.raises(InputError, match="git for-each-ref fails"):
        list(CacheCollector(Workspace(repository), []).find())


def test_what_another_branch_added_and_another_workspace_made_stays(repository: Path):
    (repository / "runs" / "one").mkdir(parents=True)
    forgotten = (repository / "dvc.lock").read_text().replace(_md5("present\n"), _md5("forgotten\n"))
    (repository / "runs" / "one" / "dvc.lock").write_text(forgotten)
    collector = CacheCollector(Workspace(repository), [])
    assert list(collector.find()) == []
    shutil.rmtree(repository / "runs")
    (item,) = collector.find()
    collector.delete(item)
    assert _cached(repository) == {"present\n", "added\n"}


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def test_a_cache_that_is_shared_is_left(tmp_path: Path):
    root = tmp_path / "workspace"
    (root / ".dvc").mkdir(parents=True)
    (root / ".dvc" / "config").write_text(f"[core]\n    no_scm = True\n[cache]\n    dir = {tmp_path / 'shared'}\n")
    with pytest.raises(InputError, match="shared; run dvc gc with --projects"):
        list(CacheCollector(Workspace(root), []).find())


def test_a_folder_without_dvc_has_no_cache(tmp_path: Path):
    assert list(CacheCollector(Workspace(tmp_path), []).find()) == []
