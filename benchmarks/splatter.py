"""How near closed-form Gaussians are to an object seen from elsewhere, and what they cost: `python -m benchmarks.splatter`.

Six views of 128 × 128 with their passes are rendered of every object, and 20 more from Zero-1-to-3's training cameras: directions
of vectors uniform in a cube, so all elevations, radius uniform in [1.5, 2.2], field of view 49.1°, drawn by the object's uid. The
Gaussians' pictures from there are compared with Blender's on white: PSNR, SSIM, alpha-IoU, of the fused Gaussians and of the
union of the six splatter images. Where the squared error lies: within two pixels of the outline, at surfaces that none of the
six views sees, or elsewhere. CPU-seconds are those of the closed form alone, on one thread.

Goals, over the objects through which no light goes: 26 dB, an alpha-IoU of 0.97, 0.3 CPU-seconds an object. `--assets FOLDER`
takes files of one's own besides the composed objects; `--scratch FOLDER` keeps the renders for a next time and gets
`sheet.png`, truth, Gaussians and error side by side; `--quick` takes two composed objects and six cameras.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from scipy.ndimage import binary_dilation, binary_erosion
from scipy.spatial import cKDTree

from benchmarks.splatter_worker import PASSES
from blender_render.batch import Batch, BatchJob
from blender_render.closed_form import ClosedForm, Shot, closed_form
from blender_render.farm import Farm
from blender_render.parameters import RenderParameters, SplatterParameters
from blender_render.passes import GeometryPasses
from blender_render.rendered_object import RenderJob, on_white
from blender_render.splatter_quality import quality
from catalog.build import build_catalog
from catalog.parameters import CatalogParameters
from catalog.table import Asset, selected_assets
from geometry.gaussian_tensors import GaussianTensors
from geometry.gaussians import Gaussians, concatenate
from geometry.rasterizer import rasterize
from stage.executor import ExecutorParameters
from stage.files import json_sha256
from stage.workspace import Workspace

_HANDLER = "benchmarks.splatter_worker:capture_object"
_SIDE = 128
_GOALS = {"psnr": (26.0, "dB"), "alpha_iou": (0.97, ""), "seconds": (0.3, "CPU-s an object")}
_IN_SHEET = 4
# Farther than this from all Gaussians, in world units (about three pixels), a surface has none.
_UNSEEN = 0.03


@dataclass(frozen=True)
class Result:
    """Of one object: mean scores, CPU-seconds, and the shares of the squared error."""

    name: str
    form: ClosedForm
    seconds: float
    fused: dict[str, float]
    union: dict[str, float]
    error: dict[str, float]

    @property
    def opaque(self) -> bool:
        """Whether no light goes through it, by the record's own measure."""
        return "transparent" not in self.form.falls_short

    def row(self) -> str:
        """A line of the printed table."""
        one, two = self.fused, self.union
        shares = " ".join(f"{name} {share:.2f}" for name, share in self.error.items())
        return (
            f"{self.name:28} {one['psnr']:5.2f} {one['psnr_worst']:5.2f} {one['ssim']:.4f} {one['alpha_iou']:.4f} | "
            f"{two['psnr']:5.2f} {two['ssim']:.4f} {two['alpha_iou']:.4f} | {len(self.form.fused):6d} {self.seconds:.2f} s | "
            f"{shares} | {self.form.falls_short}"
        )


def catalogue(source: dict[str, Any], workspace: Workspace) -> list[Asset]:
    """The assets of a source, which are composed or listed."""
    build_catalog(CatalogParameters(**source), 0, workspace)
    return selected_assets(workspace)


def shots(assets: Sequence[Asset], workspace: Workspace, protocol: str, views: int, side: int) -> list[list[Shot]]:
    """What the cameras of a protocol see of each object; rendered where it is not there from before."""
    root = workspace.root / f"{protocol}_{views}_{side}"
    executor = ExecutorParameters(workers=1, threads=1, timeout_seconds=1200)
    farm = Farm(
        root, RenderParameters(protocol=protocol, views=views, resolution=side, executor=executor), 0, workspace
    )
    jobs = [replace(farm.job(asset), fingerprint=json_sha256([farm.fingerprint(asset), _HANDLER])) for asset in assets]
    failed = Batch(root, _HANDLER, executor).run(
        [BatchJob(j.uid, j.fingerprint, j.payload()) for j in jobs], root.name
    )
    if failed:
        sys.exit(f"{failed[0].uid}: {failed[0].failure}: {failed[0].message}")
    return [_read(job) for job in jobs]


def _read(job: RenderJob) -> list[Shot]:
    arrays = np.load(Path(job.output) / "shots.npz")
    rgba, passes = arrays["rgba"], {name: arrays[name] for name in PASSES}
    views = job.views()
    return [
        Shot(view, rgba[i], GeometryPasses(**{name: values[i] for name, values in passes.items()}))
        for i, view in enumerate(views)
    ]


def measure(name: str, seen: Sequence[Shot], truth: Sequence[Shot]) -> Result:
    """Make one object's Gaussians and judge them."""
    start = time.process_time()
    form = closed_form(seen, SplatterParameters())
    seconds = time.process_time() - start
    union = concatenate([image.select(image.opacities > 0.0) for image in form.images])
    return Result(name, form, seconds, _means(form.fused, truth), _means(union, truth), _error(form.fused, truth))


def _means(gaussians: Gaussians, truth: Sequence[Shot]) -> dict[str, float]:
    scores = quality(gaussians, truth)
    return {**{name: float(np.mean(values)) for name, values in scores.items()}, "psnr_worst": min(scores["psnr"])}


def _pictures(gaussians: Gaussians, truth: Sequence[Shot]) -> Float[np.ndarray, "v h w 3"]:
    lenses = [shot.view.intrinsics for shot in truth]
    with torch.no_grad():
        seen = rasterize(GaussianTensors.of(gaussians), np.stack([shot.view.c2w for shot in truth]), lenses)
    return seen.rgb.numpy().clip(0.0, 1.0)


def _error(gaussians: Gaussians, truth: Sequence[Shot]) -> dict[str, float]:
    """Shares of the squared error of all views."""
    sums = dict.fromkeys(("unseen", "outline", "elsewhere"), 0.0)
    tree = cKDTree(gaussians.means)
    for picture, shot in zip(_pictures(gaussians, truth), truth, strict=True):
        assert shot.geometry is not None
        mask = shot.geometry.depth > 0
        squared = np.mean((picture - on_white(shot.rgba)) ** 2, axis=-1)
        unseen = np.zeros_like(mask)
        unseen[mask] = tree.query(shot.geometry.position[mask], distance_upper_bound=_UNSEEN)[0] > _UNSEEN
        outline = binary_dilation(mask, iterations=2) & ~binary_erosion(mask, iterations=2) & ~unseen
        sums["unseen"] += float(squared[unseen].sum())
        sums["outline"] += float(squared[outline].sum())
        sums["elsewhere"] += float(squared[~unseen & ~outline].sum())
    return {name: value / sum(sums.values()) for name, value in sums.items()}


def write_sheet(path: Path, results: Sequence[Result], truths: Sequence[Sequence[Shot]]) -> None:
    """Truth, Gaussians and what they differ by, from the first cameras of every object, an object a row."""
    rows = []
    for result, truth in zip(results, truths, strict=True):
        some = truth[:_IN_SHEET]
        pairs = zip(_pictures(result.form.fused, some), some, strict=True)
        cells = [np.hstack([on_white(s.rgba), p, 1.0 - np.abs(p - on_white(s.rgba))]) for p, s in pairs]
        rows.append(np.hstack(cells))
    Image.fromarray(np.rint(np.vstack(rows) * 255.0).astype(np.uint8)).save(path)


def report(results: Sequence[Result]) -> bool:
    """Print the table and the figures with their goals; whether one falls short."""
    print(
        "object                      PSNR worst  SSIM  alpha-IoU | union PSNR SSIM alpha-IoU | Gaussians, time | error | short"
    )
    for result in results:
        print(result.row())
    opaque = [result for result in results if result.opaque]
    figures = {name: float(np.mean([r.fused[name] for r in opaque])) for name in ("psnr", "alpha_iou")}
    figures["seconds"] = float(np.mean([r.seconds for r in results]))
    for name in ("psnr", "alpha_iou"):
        print(f"union {name}: {np.mean([r.union[name] for r in opaque]):.4g}")
    short = False
    for name, value in figures.items():
        goal, unit = _GOALS[name]
        short |= value > goal if name == "seconds" else value < goal
        print(f"splatter {name}: {value:.4g} {unit} (goal {goal:g})")
    return short


def main() -> int:
    """Measure; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two composed objects, six cameras")
    parser.add_argument("--assets", type=Path, help="a folder of assets beside the composed objects")
    parser.add_argument("--scratch", type=Path, help="a folder that keeps the renders")
    parser.add_argument("--side", type=int, default=_SIDE, help="width and height of the pictures compared")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    sources: dict[str, dict[str, Any]] = {"composed": {"objects": 2 if arguments.quick else 6}}
    if arguments.assets:
        sources["files"] = {"source": "folder", "path": str(arguments.assets.absolute())}
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.scratch.absolute() if arguments.scratch else Path(temporary)
        names, seen, truths = [], [], []
        for label, source in sources.items():
            workspace = Workspace(folder / label)
            assets = catalogue(source, workspace)
            names += [asset.title for asset in assets]
            seen += shots(assets, workspace, "six_views", 6, _SIDE)
            truths += shots(assets, workspace, "zero123", 6 if arguments.quick else 20, arguments.side)
        results = [measure(*parts) for parts in zip(names, seen, truths, strict=True)]
        write_sheet(folder / "sheet.png", results, truths)
    return int(report(results))


if __name__ == "__main__":
    sys.exit(main())
