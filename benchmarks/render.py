"""What a view costs and how good it is under each quality preset: `python -m benchmarks.render`.

The presets `fast` and `standard`, geometry passes included, against the published renderings' settings: 128 samples, Blender's
default denoiser and light tree, no persistent data, colour alone; once with all samples, and once with the adaptive sampling
that is Blender's default and spares the background. Goals are against the latter, the harder one. Same objects, cameras, light
and pixel filter, 256 × 256 pixels, one thread. The cost is user and system time of the worker process in importing, rendering
and encoding an object, per view; starting Blender, which the published scripts do for every object, is left out for all. PSNR
and SSIM are against 1,024 samples of another seed without denoising, of the whole picture on white, the mean over the first
views of each object.

Goals: `fast` 12 times cheaper at 40 dB and an SSIM of 0.99; `standard` 4 times at 46 dB. `--assets FOLDER` takes files of one's
own for the composed objects; `--quick` takes two objects.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from blender_render.batch import Batch, BatchJob
from blender_render.farm import Farm
from blender_render.parameters import QualityParameters, RenderParameters
from blender_render.rendered_object import RenderJob, on_white, read_rgba
from catalog.build import build_catalog
from catalog.parameters import CatalogParameters
from catalog.table import Asset, selected_assets
from geometry.picture_metrics import psnr, ssim
from stage.executor import ExecutorParameters
from stage.packs import object_folder
from stage.workspace import Workspace

_SIDE = 256
_SAMPLES_OF_TRUTH = 1024
_SSIM_GOAL = 0.99
_PUBLISHED = "benchmarks.render_worker:render_as_published"
_VIEWS = 6
_JUDGED_VIEWS = 2


@dataclass(frozen=True)
class Setting:
    """A way of rendering: its quality and worker function, what is added to the seed of the noise, passes, workers and views."""

    quality: QualityParameters
    handler: str = "benchmarks.render_worker:render_measured"
    seed: int = 0
    passes: tuple[Literal["depth", "normal"], ...] = ("depth", "normal")
    workers: int = 1
    views: int = _VIEWS


@dataclass(frozen=True)
class Score:
    """Of one setting: CPU-seconds a view; PSNR and SSIM, the mean and the lowest of all views."""

    seconds: float
    psnr: float
    lowest_psnr: float
    ssim: float
    lowest_ssim: float


def settings() -> dict[str, Setting]:
    """The truth and what is compared with it."""
    truth = QualityParameters(device="cpu", samples=_SAMPLES_OF_TRUTH, denoise=False, crop=True)
    adaptive = QualityParameters(device="cpu", preset="reference")
    published = QualityParameters(device="cpu", preset="reference", noise_threshold=0.0)
    return {
        "truth": Setting(truth, seed=1, passes=(), workers=0, views=_JUDGED_VIEWS),
        "published": Setting(published, handler=_PUBLISHED, passes=()),
        "adaptive": Setting(adaptive, handler=_PUBLISHED, passes=()),
        "fast": Setting(QualityParameters(device="cpu", preset="fast")),
        "standard": Setting(QualityParameters(device="cpu", preset="standard")),
    }


def run(setting: Setting, root: Path, assets: Sequence[Asset], workspace: Workspace) -> float:
    """Render all assets into `root`; CPU-seconds a view."""
    executor = ExecutorParameters(workers=setting.workers, threads=1, timeout_seconds=3600)
    parameters = RenderParameters(
        views=_VIEWS, resolution=_SIDE, quality=setting.quality, passes=setting.passes, executor=executor
    )
    farm = Farm(root, parameters, 0, workspace)
    jobs = [_job(farm.job(asset), setting) for asset in assets]
    batch = Batch(root, setting.handler, executor)
    failed = batch.run([BatchJob(job.uid, job.fingerprint, job.payload()) for job in jobs], root.name)
    if failed:
        sys.exit(f"{failed[0].uid}: {failed[0].failure}: {failed[0].message}")
    rows = [json.loads(line) for line in batch.ledger.read_text().splitlines()]
    return sum(float(row["phases"]["cpu"]) for row in rows) / (len(assets) * setting.views)


def _job(job: RenderJob, setting: Setting) -> RenderJob:
    """The setting's noise, the first of the views; cameras and light are those of all settings."""
    return replace(job, seed=job.seed + setting.seed, cameras=job.cameras[: setting.views])


def score(seconds: float, root: Path, truth: Path, assets: Sequence[Asset]) -> Score:
    """Compare the judged views in `root` with those in `truth`."""
    pairs = []
    for asset in assets:
        for view in range(_JUDGED_VIEWS):
            pair = [on_white(read_rgba(object_folder(folder, asset.uid), view)) for folder in (root, truth)]
            pairs.append((psnr(*pair), ssim(*pair)))
    (psnr_mean, ssim_mean), (psnr_low, ssim_low) = np.mean(pairs, axis=0), np.min(pairs, axis=0)
    return Score(seconds, float(psnr_mean), float(psnr_low), float(ssim_mean), float(ssim_low))


def compare(assets: Sequence[Asset], workspace: Workspace) -> dict[str, Score]:
    """The score of every setting but the truth."""
    scores: dict[str, Score] = {}
    for name, setting in settings().items():
        root = workspace.root / name
        seconds = run(setting, root, assets, workspace)
        if name != "truth":
            scores[name] = score(seconds, root, workspace.root / "truth", assets)
    return scores


def catalogue(folder: Path | None, objects: int, workspace: Workspace) -> list[Asset]:
    """Composed objects, or files of a folder."""
    source: dict[str, Any] = {"source": "folder", "path": str(folder.absolute())} if folder else {"objects": objects}
    build_catalog(CatalogParameters(**source), 0, workspace)
    return selected_assets(workspace)[:objects]


def report(name: str, scores: dict[str, Score], ratio: float, decibels: float) -> bool:
    """Print a preset's figure and goal; whether it falls short."""
    mine = scores[name]
    cheaper, of_all = (scores[other].seconds / mine.seconds for other in ("adaptive", "published"))
    figure = f"{cheaper:.1f} times cheaper ({of_all:.1f} than 128 samples everywhere) at {mine.psnr:.2f} dB"
    print(
        f"render {name}: {figure}, SSIM {mine.ssim:.4f} (goal {ratio:g} times at {decibels:g} dB, SSIM {_SSIM_GOAL})"
    )
    return cheaper < ratio or mine.psnr < decibels or mine.ssim < _SSIM_GOAL


def main() -> int:
    """Measure; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two objects")
    parser.add_argument("--assets", type=Path, help="a folder of assets instead of composed objects")
    arguments = parser.parse_args()
    objects = 2 if arguments.quick else 4
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(Path(folder))
        scores = compare(catalogue(arguments.assets, objects, workspace), workspace)
    for name, one in scores.items():
        print(
            f"{name:10} {one.seconds:6.3f} CPU-s a view, PSNR {one.psnr:.2f} dB (lowest {one.lowest_psnr:.2f}), "
            f"SSIM {one.ssim:.4f} (lowest {one.lowest_ssim:.4f})"
        )
    short = [report("standard", scores, 4.0, 46.0), report("fast", scores, 12.0, 40.0)]
    return int(any(short))


if __name__ == "__main__":
    sys.exit(main())
