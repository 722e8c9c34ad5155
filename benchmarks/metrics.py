"""What scoring a folder of pictures takes, the whole command: `python -m benchmarks.metrics`.

1,030 objects of 16 views at 256², as many as Google Scanned Objects has, PSNR and SSIM without sampling. Pictures are drawn: a
textured, shaded blob, RGBA as the truth, shifted, blurred and grainy RGB as the prediction; 40 objects are distinct, the others
copies of their files under other names, since each is hashed, decoded and scored like any other. `viewforge evaluate
--predictions` runs in a process of its own with two workers: wall-clock and CPU-seconds, the peak of resident memory of the
command alone and with its workers; beside it the same for a tenth of the objects, by which memory must not grow, and a second
run that keeps every result.

Goals: 300 s, and no more than a tenth more memory for ten times the objects. The load of the machine at the start is told;
CPU-seconds on two cores are what the command would take alone. `--quick` takes 40 objects, and its seconds are extrapolated.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
from jaxtyping import Float, UInt8
from PIL import Image
from scipy.ndimage import uniform_filter

_OBJECTS, _QUICK, _DISTINCT = 1030, 40, 40
_VIEWS, _SIZE = 16, 256
_GOAL_SECONDS, _GOAL_GROWTH = 300.0, 1.1
_CORES = 2


@dataclass(frozen=True)
class Run:
    """One run of the command."""

    seconds: float
    cpu_seconds: float
    own_bytes: int
    """Peak of resident memory of the command itself."""
    all_bytes: int
    """With its workers; pages that they share count once for each."""

    def __str__(self) -> str:
        return (
            f"{self.seconds:.1f} s, {self.cpu_seconds:.1f} CPU-s, memory {self.own_bytes / 2**20:.0f} MiB, "
            f"with workers {self.all_bytes / 2**20:.0f} MiB"
        )


def draw(number: int, truth: Path, predictions: Path) -> None:
    """Write the views of one object on both sides."""
    generator = np.random.default_rng(number)
    for folder in (truth, predictions):
        folder.mkdir(parents=True)
    for view in range(_VIEWS):
        rgba = _view(generator)
        Image.fromarray(rgba).save(truth / f"{view:03d}.png")
        Image.fromarray(_prediction(rgba, generator)).save(predictions / f"{view:03d}.png")


def _view(generator: np.random.Generator) -> UInt8[np.ndarray, "h w 4"]:
    y, x = (np.mgrid[:_SIZE, :_SIZE] + 0.5) / _SIZE - 0.5
    angle, radius = np.arctan2(y, x), np.hypot(x, y)
    waves = sum(generator.normal(0, 0.03 / k) * np.cos(k * angle + generator.uniform(0, 6.3)) for k in range(1, 6))
    alpha = np.clip((0.33 + waves - radius) * _SIZE, 0.0, 1.0)
    shade = 0.55 + 0.45 * np.sqrt(np.clip(1.0 - (radius / 0.45) ** 2, 0.0, 1.0))
    texture = sum(_noise(generator, side) * weight for side, weight in ((4, 0.6), (16, 0.25), (64, 0.1), (128, 0.05)))
    colour = np.clip(texture * shade[..., None], 0.0, 1.0) * (alpha > 0)[..., None]
    return (np.dstack([colour, alpha]) * 255).round().astype(np.uint8)


def _noise(generator: np.random.Generator, side: int) -> Float[np.ndarray, "h w 3"]:
    coarse = Image.fromarray((generator.random((side, side, 3)) * 255).astype(np.uint8))
    return np.asarray(coarse.resize((_SIZE, _SIZE), Image.Resampling.BILINEAR), np.float32) / 255


def _prediction(rgba: UInt8[np.ndarray, "h w 4"], generator: np.random.Generator) -> UInt8[np.ndarray, "h w 3"]:
    values = rgba / np.float32(255.0)
    white = values[..., :3] * values[..., 3:] + 1.0 - values[..., 3:]
    blurred = uniform_filter(np.roll(white, int(generator.integers(-3, 4)), axis=1), (3, 3, 1))
    return (np.clip(blurred + generator.normal(0, 0.004, blurred.shape), 0, 1) * 255).round().astype(np.uint8)


def make_folders(root: Path, objects: int) -> None:
    """Write `truth/` and `predictions/` of so many objects; those beyond the distinct ones are copies of their files."""
    for number in range(objects):
        sides = [root / side / f"object_{number:04d}" for side in ("truth", "predictions")]
        if number < _DISTINCT:
            draw(number, *sides)
            continue
        for folder in sides:
            shutil.copytree(folder.with_name(f"object_{number % _DISTINCT:04d}"), folder)


def measured(root: Path, output: Path) -> Run:
    """Run the command on two folders."""
    options = ["--predictions", root / "predictions", "--ground-truth", root / "truth", "--output", output]
    figures = ["--metric", "psnr", "--metric", "ssim", "--workers", _CORES]
    command = [sys.executable, "-m", "cli.main", "evaluate", *map(str, (*options, *figures))]
    before, started = _children_seconds(), time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    peaks = _Peaks(process.pid)
    if process.wait():
        sys.exit("the command failed")
    seconds = time.monotonic() - started
    peaks.stop()
    return Run(seconds, _children_seconds() - before, peaks.own, peaks.all)


def _children_seconds() -> float:
    """CPU-seconds of the processes that were waited for, theirs among them."""
    times = os.times()
    return times.children_user + times.children_system


class _Peaks:
    """Watches a process and its children from a thread."""

    def __init__(self, pid: int) -> None:
        self.own = self.all = 0
        self._process, self._ended = psutil.Process(pid), threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._ended.wait(0.2):
            try:
                own = self._process.memory_info().rss
                below = sum(child.memory_info().rss for child in self._process.children(recursive=True))
            except psutil.NoSuchProcess:
                continue
            self.own, self.all = max(self.own, own), max(self.all, own + below)

    def stop(self) -> None:
        """End the thread."""
        self._ended.set()
        self._thread.join()


def main() -> int:
    """Measure; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help=f"{_QUICK} objects, extrapolated")
    objects = _QUICK if parser.parse_args().quick else _OBJECTS
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make_folders(root / "tenth", max(4, objects // 10))
        make_folders(root / "whole", objects)
        sizes = [path.stat().st_size for path in (root / "whole" / "truth").rglob("*.png")]
        print(f"{objects} objects, {len(sizes)} pairs, {np.mean(sizes) / 1e3:.0f} kB a true picture")
        print(f"load before: {', '.join(f'{load:.1f}' for load in os.getloadavg())} on {os.cpu_count()} cores")
        tenth = measured(root / "tenth", root / "tenth output")
        print(f"a tenth of the objects: {tenth}")
        whole = measured(root / "whole", root / "output")
        print(f"all: {whole}")
        print(f"once more, every result kept: {measured(root / 'whole', root / 'output')}")
    seconds, growth = whole.seconds, whole.all_bytes / tenth.all_bytes
    if objects < _OBJECTS:
        # What starting takes does not grow with the objects.
        each = (whole.seconds - tenth.seconds) / (objects - max(4, objects // 10))
        seconds = whole.seconds + each * (_OBJECTS - objects)
        print(f"extrapolated to {_OBJECTS} objects")
    print(f"memory of ten times the objects: {growth:.2f} times (goal {_GOAL_GROWTH})")
    print(f"metrics: {seconds:.0f} s (goal {_GOAL_SECONDS:.0f})")
    return int(seconds > _GOAL_SECONDS or growth > _GOAL_GROWTH)


if __name__ == "__main__":
    sys.exit(main())
