"""Scoring a folder of pictures killed in the middle: run again, it scores only what is left, to an undisturbed run's bytes.

The moment is no matter of luck: `standstill/sitecustomize.py` makes the worker that finishes the second object stand still before
it does, then the command is killed.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from stage.files import file_sha256
from stage.progress import PROGRESS_VARIABLE

pytestmark = pytest.mark.slow

STANDSTILL = Path(__file__).parent / "standstill"
OBJECTS = 4


@pytest.fixture
def folders(tmp_path):
    for number in range(OBJECTS):
        for side, off in (("truth", 0), ("predictions", 5 + number)):
            folder = tmp_path / side / f"object_{number}"
            folder.mkdir(parents=True)
            for view in range(2):
                pixels = np.random.default_rng(10 * number + view).integers(0, 200, (16, 16, 3), dtype=np.uint8)
                Image.fromarray(pixels + np.uint8(off)).save(folder / f"{view:03d}.png")
    return tmp_path


def command(folders, output):
    options = ["--predictions", folders / "predictions", "--ground-truth", folders / "truth", "--output", output]
    return [sys.executable, "-m", "cli.main", "evaluate", *map(str, options), "--workers", "1", "--metric", "psnr"]


def published(output):
    return {path.name: file_sha256(path) for path in output.iterdir() if path.is_file()}


def kill_in_the_middle(command, environment, output, note):
    standing = {
        "PYTHONPATH": os.pathsep.join(filter(None, [str(STANDSTILL), environment.get("PYTHONPATH")])),
        "STANDSTILL_PIECES": str(output / ".cache" / "*.json"),
        "STANDSTILL_NOTE": str(note),
    }
    process = subprocess.Popen(command, env={**environment, **standing}, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 200
    while not note.exists():
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    family = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait()
    _, alive = psutil.wait_procs(family, 20)
    assert not alive


def test_a_killed_command_goes_on_with_what_is_left(folders, program_environment, tmp_path):
    output, undisturbed = tmp_path / "output", tmp_path / "undisturbed"
    kill_in_the_middle(command(folders, output), program_environment, output, tmp_path / "note")
    finished = {path.name: path.stat().st_mtime_ns for path in (output / ".cache").glob("*.json")}
    assert len(finished) == 1
    assert not published(output), "figures of some objects must not look like figures of all"

    lines = tmp_path / "progress.jsonl"
    environment = {**program_environment, PROGRESS_VARIABLE: str(lines)}
    subprocess.run(command(folders, output), env=environment, check=True, capture_output=True)
    results = {path.name: path.stat().st_mtime_ns for path in (output / ".cache").glob("*.json")}
    assert len(results) == OBJECTS
    assert {name: results[name] for name in finished} == finished, "a finished object was scored again"
    assert json.loads(lines.read_text().splitlines()[-2])["kept"] == 1
    assert not list((output / ".cache").glob(".*")), "leftovers of the killed run"

    subprocess.run(command(folders, undisturbed), env=program_environment, check=True, capture_output=True)
    assert published(output) == published(undisturbed)
