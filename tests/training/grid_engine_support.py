"""Zero-1-to-G's first generation on the engine: shards of boxes with splatter images, and the smallest system."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.state import AcceleratorState
from PIL import Image
from tiny_modules import IMAGE_ENCODER

from blender_render.camera_sets import View
from blender_render.rendered_object import write_cameras
from blender_render.splatter_files import write_splatter_files
from geometry.cameras import Intrinsics
from geometry.gaussians import concatenate
from stage.files import write_json
from stage.packs import object_folder, write_packs
from stage.workspace import Workspace
from systems.zero_1_to_g.grid.modules import build_modules
from systems.zero_1_to_g.grid.training import Zero1ToGGridTraining
from tests.grid_boxes import FOV, box, grid_cameras, picture, splatters
from training.assembly import view_choice
from training.data.loader import PlannedLoader
from training.data.mixture import Mixed
from training.data.plan import Plan
from training.data.reader import ShardReader
from training.data.shard_parameters import ShardParameters
from training.data.writer import write_shards
from training.engine import Engine
from training.feed import Feed
from training.parameters import TrainParameters
from training.preemption import Notice
from training.tracking.tracker import Silence

SIZE, SIDE, OBJECTS, OTHERS = 16, 8, 4, 3

SYSTEM: dict[str, Any] = {
    "input_size": SIZE,
    "condition_size": SIZE,
    "num_views": 7,
    "mix_diffusion_interval": 2,
    "decoder": {"block_channels": [16, 16], "splatter_size": SIDE},
    "unet": {"block_channels": [16, 16], "attention_heads": 2},
    "image_encoder": {**IMAGE_ENCODER, "train": False},
    "prompt_tokens": 3,
}


def grid_shards(render_boxes: Callable[..., Workspace], root: Path, splatter_root: Path) -> Workspace:
    """Shards of boxes as `grid_boxes` has them, the input's azimuth another one for each."""
    workspace = render_boxes(root, views=7 + OTHERS, train=OBJECTS)
    folders = sorted(path.parent for path in (workspace.scratch / "renders").rglob("transforms.json"))
    for number, folder in enumerate(folders):
        c2w = grid_cameras(50.0 * number, OTHERS, seed=number)
        lens = Intrinsics.from_fov(FOV, SIZE)
        for view, camera in enumerate(c2w):
            Image.fromarray(picture(box(number), camera, lens)).save(folder / f"{view:03d}.png")
        write_cameras(folder, [View(camera, lens) for camera in c2w], [])
        made = splatters(box(number), c2w[1:7], SIDE)
        target = object_folder(splatter_root, folder.name)
        target.mkdir(parents=True)
        small = Intrinsics.from_fov(FOV, SIDE)
        write_splatter_files(target, made, concatenate(made), [View(camera, small) for camera in c2w[1:7]])
        write_json(target / "record.json", {"fingerprint": folder.name})
    workspace.splatters.mkdir(parents=True)
    write_packs(splatter_root, [folder.name for folder in folders], workspace.splatters, 1)
    write_shards(ShardParameters(include=("splatter",)), workspace)
    return workspace


def grid_run(stage: str, steps: int = 6, **changes: Any) -> TrainParameters:
    """A short run."""
    section = {
        "system": "zero_1_to_g_grid",
        "zero_1_to_g_grid": {**SYSTEM, "stage": stage, **changes},
        "steps": steps,
        "batch_size": 2,
        "checkpoint_every": 3,
        "ema_decay": 0.9,
        "optimizer": {"warmup_steps": 2, "schedule": "constant"},
    }
    return TrainParameters.model_validate(section)


def grid_engine(run: TrainParameters, shards: Path, folder: Path, kept: Path | None = None) -> Engine:
    """An engine of this process, on the CPU."""
    AcceleratorState._reset_state(reset_partial_state=True)
    processes = Accelerator(cpu=True)
    section = run.zero_1_to_g_grid
    system = Zero1ToGGridTraining(section, 3, SIZE, build_modules(section, 3))
    if kept:
        system.keep_in(kept)
    reader = ShardReader(shards, "train", splatters=run.splatters)
    plan = Plan((Mixed("objects", OBJECTS),), batch_size=run.batch_size, seed=1)
    loader = PlannedLoader(plan, {"objects": reader}, view_choice(run))
    folder.mkdir(parents=True, exist_ok=True)
    return Engine(run, 7, system, Feed(loader, processes), folder, processes, Silence(), Notice())
