"""A git clone of the project: experiments, what differs between them, and its champion on another clone by way of S3."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from object_store import door_of, empty_bucket, reach, s3_server

from flows.workspaces import PROJECT, chosen_parameters
from stage.files import folder_sha256

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200), pytest.mark.minutes(2.5)]


def run(root: Path, *command: str, **environment: str) -> str:
    """A command in a clone, with the clone's own code."""
    result = subprocess.run(
        command, cwd=root, env=_environment(root, environment), capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, f"{' '.join(command)}\n{result.stdout[-2000:]}\n{result.stderr[-2000:]}"
    return result.stdout


def _environment(root: Path, further: dict[str, str]) -> dict[str, str]:
    inherited = {
        key: value for key, value in os.environ.items() if key not in {"PREFECT_API_URL", "MLFLOW_TRACKING_URI"}
    }
    path = os.pathsep.join([str(Path(sys.executable).parent), inherited["PATH"]])
    return {**inherited, "PATH": path, "PYTHONPATH": str(root), "COLUMNS": "200", **further}


def commit(root: Path, message: str) -> None:
    run(root, "git", "add", "--all")
    run(root, "git", "-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "--message", message)


@pytest.fixture(scope="module")
def clone(tmp_path_factory, tiny_parameters) -> Path:
    """The project in a repository of its own with the smallest parameters, run once and committed."""
    root = tmp_path_factory.mktemp("experiments") / "clone"
    for name in run(PROJECT, "git", "ls-files", "-z").split("\0"):
        if name and (PROJECT / name).is_file():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(PROJECT / name, root / name)
    settings = [f"{key}={value}" for key, value in {**tiny_parameters, "register.data": "push"}.items()]
    values = chosen_parameters(PROJECT / "params.yaml", None, settings)
    (root / "params.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    run(root, "git", "init", "--quiet")
    run(root, "dvc", "remote", "add", "--default", "team", "s3://data/versions")
    commit(root, "The project")
    run(root, "dvc", "repro")
    commit(root, "First run")
    return root


@pytest.fixture(scope="module")
def experiment(clone: Path) -> Path:
    """The clone after an experiment with another number of steps, which lies in the workspace uncommitted."""
    said = run(clone, "dvc", "exp", "run", "--name", "three-steps", "--set-param", "evaluate.inference_steps=3")
    assert re.findall("Running stage '(.*)'", said) == ["evaluate"]
    return clone


def test_a_run_leaves_git_with_nothing_but_the_lock(experiment):
    assert run(experiment, "git", "status", "--short").split() == ["M", "dvc.lock", "M", "params.yaml"]


def test_parameters_and_metrics_are_compared(experiment):
    (parameter,) = json.loads(run(experiment, "dvc", "params", "diff", "--json"))["params.yaml"].items()
    assert parameter == ("evaluate.inference_steps", {"old": 2, "new": 3, "diff": 1})
    metrics = json.loads(run(experiment, "dvc", "metrics", "diff", "--json"))
    changed = metrics["data/evaluation/metrics.json"]
    assert changed["unseen.model.psnr"]["diff"] != 0
    assert not [name for name in changed if "copy_input" in name]


def test_plots_of_both_are_on_one_page(experiment, tmp_path):
    run(experiment, "dvc", "plots", "diff", "--out", str(tmp_path / "plots"))
    page = (tmp_path / "plots" / "index.html").read_text()
    for what in ("Training loss", "psnr_copy_input", "PSNR of unseen objects by azimuth", "workspace", "HEAD"):
        assert what in page, what


def test_experiments_are_listed_and_taken_back(experiment):
    assert "three-steps" in run(experiment, "dvc", "exp", "show", "--csv", "--only-changed")
    run(experiment, "git", "checkout", "--quiet", ".")
    run(experiment, "dvc", "checkout")
    assert "up to date" in run(experiment, "dvc", "status")
    run(experiment, "dvc", "exp", "apply", "three-steps")
    assert "inference_steps: 3" in (experiment / "params.yaml").read_text()
    run(experiment, "git", "checkout", "--quiet", ".")
    run(experiment, "dvc", "checkout")


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An S3-speaking server that the environment names."""
    with s3_server() as behind, door_of(behind) as store:
        reach(store, monkeypatch)
        empty_bucket("data")
        yield


@pytest.mark.usefixtures("store")
def test_the_champion_of_one_clone_comes_to_another_and_nothing_is_computed(experiment, tmp_path):
    clone = experiment
    before = folder_sha256(clone / "data")
    said = run(clone, "viewforge", "promote", "--override", "a drill")
    assert re.search(r"promote: data: all \d+ files are in s3://data/versions", said)
    assert "is champion" in said
    other = tmp_path / "other"
    run(clone, "git", "clone", "--quiet", str(clone), str(other))
    (other / "dvc.lock").unlink()
    registry = f"sqlite:///{clone / 'mlflow' / 'mlflow.db'}"
    said = run(other, "viewforge", "restore", MLFLOW_TRACKING_URI=registry)
    assert "every stage is as it was; nothing would run again" in said
    assert folder_sha256(other / "data") == before
    assert "up to date" in run(other, "dvc", "status")
    assert "Running stage" not in run(other, "dvc", "repro")
    metrics = json.loads((other / "data" / "evaluation" / "metrics.json").read_text())
    assert metrics["unseen"]["model"]["psnr"] > 0
