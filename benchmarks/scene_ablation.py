"""What cameras say that angles about a centre do not: `python -m benchmarks.scene_ablation`.

Composed rooms (`configs/scenes.yaml`) are rendered from within, by cameras that look at different places through different
lenses, and ZeroNVS is trained on them from scratch once for each of two conditioning modes, with the same seed, pairs and steps:
`3dof`, Zero-1-to-3's differences of angles about the room's middle, and `7dof_unscaled`, the relative transform and the field of
view. Both are then asked for views that training has not had: of the rooms of the training, and of rooms that it has not had
either. Beside them stands the copied input. This is the ablation of ZeroNVS' paper (Sargent et al. 2024, table 4).

Goal: a higher PSNR of the second mode on unseen views of the rooms of the training. `--modes A B` compares two others, and
`--workspace FOLDER` keeps the pictures and goes on where an earlier run ended. `--quick` takes few rooms and steps, to try the
script: there the figures are no claim, and no goal.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from blender_render.camera_sets import View
from blender_render.farm import Farm
from blender_render.parameters import RenderParameters
from blender_render.passes import load_depth, pass_path
from blender_render.rendered_object import on_white, read_rgba, read_views
from catalog.table import Asset, selected_assets
from flows.workspaces import PROJECT, chosen_parameters, prepare
from geometry.scene_scales import depth_quantile, nearplane_quantile, scene_radius
from stage.packs import object_folder
from stage.parameters import load_section, load_seed
from stage.workspace import Workspace
from systems.pipelines import load_pipeline
from systems.zeronvs.modes import MODES

_MODES = ("3dof", "7dof_unscaled")
# Views of a room that training does not have, and those of the training that they are sampled from.
_HELD_OUT, _INPUTS = 4, (0, 1, 2, 3)
_SIZES = ("catalog.objects=14", "catalog.split.test=0.25", "render.views=20")
_QUICK = (
    "catalog.objects=4",
    "catalog.split.test=0.3",
    "render.views=6",
    "render.resolution=16",
    "train.steps=40",
    "train.checkpoint_every=40",
    "train.zeronvs.image_encoder.image_size=16",
    "train.zeronvs.unet.block_channels=[32, 32]",
)


@dataclass(frozen=True)
class Room:
    """A room as it is judged: all its views in [0, 1] and their cameras, those that training has not had last."""

    asset: Asset
    pictures: Float[np.ndarray, "v h w 3"]
    depths: list[Float[np.ndarray, "h w"]]
    views: list[View]

    def scale(self, number: int, name: str) -> float:
        """One of the scales that modes divide by, for an input view; of the views that training has."""
        match name:
            case "scene_radius":
                return scene_radius(np.stack([view.c2w for view in self.views[:-_HELD_OUT]]))
            case "nearplane_quantile":
                return nearplane_quantile(self.depths[:-_HELD_OUT])
            case _:
                return depth_quantile(self.depths[number])


def run_stage(stage: str, workspace: Workspace) -> float:
    """Run a stage in a process of its own; the seconds it took.

    Raises:
        subprocess.CalledProcessError: when it fails.
    """
    started = time.monotonic()
    subprocess.run([sys.executable, "-m", "cli.main", stage, "--workspace", str(workspace.root)], check=True)
    return time.monotonic() - started


def rooms_of(workspace: Workspace) -> list[Room]:
    """All rooms with further views, drawn after those of the training from the same numbers."""
    render = load_section(workspace.parameters, "render", RenderParameters)
    more = render.model_copy(update={"views": render.views + _HELD_OUT})
    farm = Farm(workspace.scratch / "held_out", more, load_seed(workspace.parameters), workspace)
    assets = selected_assets(workspace)
    failed = {outcome.uid for outcome in farm.render(assets, "held out")}
    return [_room(asset, object_folder(farm.root, asset.uid)) for asset in assets if asset.uid not in failed]


def _room(asset: Asset, folder: Path) -> Room:
    views = read_views(folder)
    pictures = on_white(np.stack([read_rgba(folder, number) for number in range(len(views))]))
    depths = [load_depth(pass_path(folder / f"{number:03d}", "depth")) for number in range(len(views))]
    return Room(asset, pictures, depths, views)


def judge(workspace: Workspace, rooms: Sequence[Room]) -> Float[np.ndarray, "r p"]:
    """PSNR of each room's pairs, as the trained model sees them."""
    pipeline = load_pipeline(workspace.model)
    pipeline.set_progress_bar_config(disable=True)
    return np.stack([np.concatenate([_scores(pipeline, room, number) for number in _INPUTS]) for room in rooms])


def _scores(pipeline: Any, room: Room, number: int) -> Float[np.ndarray, " p"]:  # noqa: ANN401 - a system's pipeline
    wanted = room.views[-_HELD_OUT:]
    picture = torch.from_numpy(2.0 * room.pictures[[number]] - 1.0).permute(0, 3, 1, 2).float()
    sampled = pipeline.sample_views(
        picture,
        room.views[number],
        wanted,
        pipeline.scale_from(partial(room.scale, number)),
        guidance_scale=1.0,
        num_inference_steps=8,
        eta=0.0,
        output_type="np",
        generator=torch.Generator().manual_seed(number),
    ).images
    return psnr(np.asarray(sampled), room.pictures[-_HELD_OUT:])


def copied(rooms: Sequence[Room]) -> Float[np.ndarray, "r p"]:
    """The same of the input itself."""
    return np.stack(
        [
            np.concatenate([psnr(room.pictures[[number]], room.pictures[-_HELD_OUT:]) for number in _INPUTS])
            for room in rooms
        ]
    )


def psnr(some: Float[np.ndarray, "n h w 3"], truth: Float[np.ndarray, "m h w 3"]) -> Float[np.ndarray, " m"]:
    """Peak signal-to-noise ratio of each picture, dB."""
    return np.asarray(-10.0 * np.log10(np.maximum(((some - truth) ** 2).mean(axis=(1, 2, 3)), 1e-10)))


def measure(workspace: Workspace, modes: Sequence[str], quick: bool) -> bool:
    """Whether the goal is met, after saying how it went."""
    sizes = list(_QUICK if quick else _SIZES)
    config = PROJECT / "configs" / "scenes.yaml"
    for number, mode in enumerate(modes):
        settings = [*sizes, f"train.zeronvs.mode={mode}", "train.tracking.trackers=[]", "train.samples.every=null"]
        prepare(workspace, chosen_parameters(PROJECT / "params.yaml", config, settings))
        if number == 0:
            seconds = sum(run_stage(stage, workspace) for stage in ("catalog", "render", "shard"))
            rooms = rooms_of(workspace)
            print(f"{len(rooms)} rooms in {seconds:.0f} s", flush=True)
            scores = {"copied input": copied(rooms)}
        seconds = run_stage("train", workspace)
        scores[mode] = judge(workspace, rooms)
        print(f"{mode}: trained in {seconds:.0f} s", flush=True)
    seen = np.array([room.asset.split == "train" for room in rooms])
    for place, which in (("rooms of the training", seen), ("rooms that are new", ~seen)):
        for name, values in scores.items():
            print(f"unseen views of {which.sum()} {place}, {name}: {values[which].mean():.2f} dB")
    differences = (scores[modes[1]] - scores[modes[0]])[seen].mean(axis=1)
    print(
        f"scene_ablation: {differences.mean():+.2f} dB of {modes[1]} over {modes[0]} on unseen views, better in "
        f"{(differences > 0).sum()} of {len(differences)} rooms (goal: above 0)"
    )
    return bool(differences.mean() > 0)


def main() -> int:
    """Measure; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="try the script with few rooms and steps")
    parser.add_argument("--modes", nargs=2, choices=MODES, default=_MODES, help="the two that are compared")
    parser.add_argument("--workspace", type=Path, help="a folder to keep; a temporary one otherwise")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        met = measure(Workspace(arguments.workspace or Path(folder)), arguments.modes, arguments.quick)
    return 0 if arguments.quick else int(not met)


if __name__ == "__main__":
    sys.exit(main())
