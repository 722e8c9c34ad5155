"""What refinement gains on closed-form Gaussians, and what it costs: `python -m benchmarks.refinement`.

Composed objects, or with `--assets FOLDER` files of one's own, 6 × 128² Gaussians each. They are optimised against 24 pictures
of 128 × 128 pixels and judged from 20 cameras that neither construction nor refinement has seen: directions all around, radius
1.5 to 2.2, field of view 49.1°, on white, the fused Gaussians of the closed form against the refined ones. Seconds are of one
worker with one thread, from reading to writing.

Goal: 3 dB of PSNR in the mean over the objects. `--quick` takes one object at 64², 12 pictures and 60 steps.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from blender_render.ledger import ledger_rows
from blender_render.parameters import QualityParameters, RefinementParameters, SplatterParameters
from blender_render.rendered_object import read_record
from blender_render.splatter import make_splatters
from blender_render.splatter_refinement import REFINED
from catalog.build import build_catalog
from catalog.parameters import CatalogParameters
from catalog.table import Asset, selected_assets
from stage.executor import ExecutorParameters
from stage.packs import object_folder
from stage.workspace import Workspace

_GOAL = 3.0


@dataclass(frozen=True)
class Gain:
    """Of one object: what its record says of the refinement, and its seconds."""

    title: str
    course: dict[str, Any]
    gaussians: int
    seconds: float

    @property
    def decibels(self) -> float:
        """Mean PSNR of the check views after less before."""
        return float(self.course["after"]["psnr"] - self.course["before"]["psnr"])

    def line(self) -> str:
        """A row of the report."""
        before, after = self.course["before"], self.course["after"]
        return (
            f"{self.title:32.32} {before['psnr']:6.2f} -> {after['psnr']:5.2f} dB ({self.decibels:+.2f}), "
            f"SSIM {before['ssim']:.4f} -> {after['ssim']:.4f}, alpha-IoU {before['alpha_iou']:.4f} -> {after['alpha_iou']:.4f}, "
            f"{self.gaussians:,} Gaussians, depth shift {self.course['depth_shift']:.2f} px, "
            f"{self.course['step']} steps ({self.course['stopped']}), {self.seconds:.0f} s"
        )


def parameters(quick: bool, steps: int | None, depth_reach: float | None) -> SplatterParameters:
    """128² and the defaults of refinement but for its steps, or the small version."""
    chosen: dict[str, Any] = {} if depth_reach is None else {"depth_reach": depth_reach}
    refinement = RefinementParameters(
        steps=steps or (60 if quick else 150), views=12 if quick else 24, timeout_seconds=7200, **chosen
    )
    return SplatterParameters(
        resolution=64 if quick else 128,
        check_views=8 if quick else 20,
        refinement=refinement,
        quality=QualityParameters(device="cpu"),
        executor=ExecutorParameters(workers=1, threads=1),
        max_failure_rate=1.0,
    )


def catalogue(folder: Path | None, objects: int, workspace: Workspace) -> list[Asset]:
    """Composed objects, or files of a folder, listed as if rendered."""
    source: dict[str, Any] = {"source": "folder", "path": str(folder.absolute())} if folder else {"objects": objects}
    build_catalog(CatalogParameters(**source), 0, workspace)
    assets = selected_assets(workspace)[:objects]
    workspace.renders.mkdir(parents=True, exist_ok=True)
    rendered = pd.DataFrame({"uid": [asset.uid for asset in assets], "complete": True, "fingerprint": ""})
    rendered.to_parquet(workspace.renders / "objects.parquet")
    return assets


def measure(assets: list[Asset], chosen: SplatterParameters, workspace: Workspace) -> Iterator[Gain]:
    """Make the splatter images of all, and tell of each."""
    make_splatters(chosen, 0, workspace)
    root = workspace.scratch / REFINED
    seconds = {row["uid"]: sum(row["phases"].values()) for row in ledger_rows(root)}
    for asset in assets:
        folder = object_folder(root, asset.uid)
        if not folder.exists():
            print(f"{asset.title}: failed, see {root / 'ledger.jsonl'}", file=sys.stderr)
            continue
        record = read_record(folder)
        yield Gain(asset.title, record["refinement"], record["gaussians"], seconds[asset.uid])


def main() -> int:
    """Measure; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one small object")
    parser.add_argument("--assets", type=Path, help="a folder of assets instead of composed objects")
    parser.add_argument("--steps", type=int, help="most steps")
    parser.add_argument("--depth-reach", type=float, help="farthest that a Gaussian moves along its ray, pixels")
    parser.add_argument("--scratch", type=Path, help="a folder that keeps the renders, so that they are made once")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(arguments.scratch or Path(folder))
        assets = catalogue(arguments.assets, 1 if arguments.quick else 3, workspace)
        chosen = parameters(arguments.quick, arguments.steps, arguments.depth_reach)
        gains = list(measure(assets, chosen, workspace))
    for gain in gains:
        print(gain.line())
    mean = float(np.mean([gain.decibels for gain in gains])) if gains else 0.0
    print(f"refinement: {mean:+.2f} dB on unseen cameras (goal {_GOAL:g} dB)")
    return int(mean < _GOAL)


if __name__ == "__main__":
    sys.exit(main())
