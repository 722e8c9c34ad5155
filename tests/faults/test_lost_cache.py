"""DVC's cache is deleted, or a file of it rots: what is said, and that what is said brings everything back."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from versioned_workspace import dvc, rot, versioned_workspace

pytestmark = pytest.mark.slow


def command(root: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """A program of this environment in a workspace that has no server."""
    environment = {
        key: value for key, value in os.environ.items() if key not in {"PREFECT_API_URL", "MLFLOW_TRACKING_URI"}
    }
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=root,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )


def test_a_deleted_cache_comes_back_from_the_remote_and_nothing_is_computed(tmp_path: Path):
    place = versioned_workspace(tmp_path / "workspace")
    assert dvc(place.root, "push") == 0
    made = (place.renders / "pack-00000.tar").stat().st_mtime_ns
    place.scratch.mkdir()
    for lost in (place.root / ".dvc" / "cache", place.scratch):
        shutil.rmtree(lost)
    found = command(place.root, "cli.main", "verify")
    assert found.returncode == 1
    assert "the cache lacks" in found.stdout
    assert found.stderr.splitlines()[-1].startswith(f"viewforge: {place.root.resolve()} is damaged in 2 places")
    fetched = command(place.root, "dvc", "fetch")
    assert fetched.returncode == 0, fetched.stderr
    assert command(place.root, "cli.main", "verify").returncode == 0
    repro = command(place.root, "dvc", "repro")
    assert "Running stage" not in repro.stdout + repro.stderr
    assert (place.renders / "pack-00000.tar").stat().st_mtime_ns == made


def test_without_a_remote_a_rotten_pack_is_put_aside_and_made_again(tmp_path: Path):
    place = versioned_workspace(tmp_path / "workspace", "hardlink")
    pack = place.renders / "pack-00001.tar"
    rot(pack)
    assert "up to date" in (said := command(place.root, "dvc", "status")).stdout + said.stderr, "DVC notices by itself"
    assert command(place.root, "cli.main", "verify", "--repair").returncode == 1
    assert command(place.root, "dvc", "repro").returncode == 0
    assert pack.read_text() == "two\n"
    assert command(place.root, "cli.main", "verify").returncode == 0
