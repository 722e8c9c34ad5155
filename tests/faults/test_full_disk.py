"""A disk that runs full in the middle of a stage: one clear line, nothing half-written, and a re-run that continues."""

import subprocess
from pathlib import Path

import pytest
import yaml

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 300 kB, which eight objects do not fit on."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", place], capture_output=True, check=False
    )
    if mount.returncode:
        pytest.skip("mounting a small file system needs root")
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


def test_full_disk_is_one_line_and_a_rerun_continues(small_disk, viewforge):
    parameters = yaml.safe_load((PROJECT / "params.yaml").read_text())
    parameters["catalog"]["objects"] = 20
    (small_disk / "params.yaml").write_text(yaml.safe_dump(parameters))
    result = viewforge("catalog", cwd=small_disk)
    assert result.returncode == 1
    assert "no space left on the disk" in result.stderr.strip().splitlines()[-1]
    assert "Traceback" not in result.stderr
    assert not (small_disk / "data" / "catalog" / "catalog.parquet").exists()
    finished = {path: path.stat().st_mtime_ns for path in (small_disk / "scratch").rglob("asset.glb")}
    assert finished
    subprocess.run(["mount", "-o", "remount,size=30m", small_disk], check=True)
    assert viewforge("catalog", cwd=small_disk).returncode == 0
    kept = [path for path, time in finished.items() if path.stat().st_mtime_ns == time]
    assert kept, "the re-run composed everything again"
