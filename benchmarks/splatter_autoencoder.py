"""What fine-tuning the decoder on splatter images gains: `python -m benchmarks.splatter_autoencoder`.

The project's own stages at a tiny size, on composed objects: `catalog`, `render`, `splatter` (closed form, six views) and
`shard`; then `train` with Zero-1-to-G's stage `autoencoder`, in which a new VAE learns the training objects' pictures and no
attribute images, and with its stage `decoder`. Ground-truth splatter images go through the VAE before and after the second, and
their Gaussians are rasterised on white: PSNR, SSIM and alpha-IoU against Blender's pictures, of the training objects and of
objects that neither stage has seen. Beside it stand the ceiling, the true Gaussians, and white pictures, which make nothing.

Goal: 2 dB on objects of both kinds. `--workspace FOLDER` keeps what was made and goes on where an earlier run ended; `--sheet
FILE` says where the pictures go, truth, true Gaussians, before and after; `--quick` takes fewer objects and steps.
"""

import argparse
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from jaxtyping import Bool, Float
from PIL import Image, ImageDraw, ImageFont

from blender_render.parameters import RenderParameters, SplatterParameters
from blender_render.render import render
from blender_render.splatter import make_splatters
from catalog.build import build_catalog
from catalog.parameters import CatalogParameters
from geometry.attribute_tensors import gaussians_of
from geometry.cameras import Intrinsics
from geometry.gaussian_tensors import GaussianTensors
from geometry.picture_metrics import psnr
from geometry.rasterizer import rasterize
from geometry.rendered_quality import SCORES, rendered_scores
from stage.workspace import Workspace
from systems.trainable import SplatterImages, Views
from systems.zero_1_to_g.decoder_training import Zero1ToGDecoder
from systems.zero_1_to_g.parameters import Zero1ToGParameters
from systems.zero_1_to_g.splatter_loss import lenses
from training.data.batch_places import stacked_splatters
from training.data.reader import ShardReader
from training.data.shard_parameters import ShardParameters
from training.data.writer import write_shards
from training.launch import train
from training.parameters import TrainParameters

_GOAL_DB = 2.0
_SIDE = 32
MODULES: dict[str, Any] = {
    "unet": {"block_channels": [16, 16], "attention_heads": 2},
    "autoencoder": {"kind": "kl", "block_channels": [16, 32], "norm_groups": 4, "kl_weight": 1e-3},
    "image_encoder": {
        "image_size": 16,
        "patch_size": 8,
        "hidden_size": 16,
        "layers": 1,
        "heads": 2,
        "embedding_dim": 16,
    },
    "supervision_views": 2,
    "decoder_loss": {"rgb": 5.0, "alpha": 5.0},
}
"""The smallest network that shows it, with the published weights of the losses."""
_STAGES: dict[str, dict[str, Any]] = {
    "autoencoder": {"batch_size": 4, "data": {"size": _SIDE}},
    "decoder": {"batch_size": 1, "data": {"size": _SIDE}},
}


@dataclass(frozen=True)
class Scale:
    """How large a run is."""

    objects: int
    views: int
    steps: dict[str, int]


FULL = Scale(24, 12, {"autoencoder": 2000, "decoder": 1000})
QUICK = Scale(12, 8, {"autoencoder": 1200, "decoder": 350})


@dataclass(frozen=True, eq=False)
class Subject:
    """One object: its pictures and its true splatter images."""

    views: Views

    @property
    def truth(self) -> Float[np.ndarray, "v h w 3"]:
        """The pictures on white."""
        values = self.views.rgba[0].numpy().astype(np.float32) / 255.0
        return values[..., :3] * values[..., 3:] + 1.0 - values[..., 3:]

    @property
    def covered(self) -> Bool[np.ndarray, "v h w"]:
        """Pixels of which the object covers half."""
        mask: Bool[np.ndarray, "v h w"] = self.views.rgba[0, ..., 3].numpy() > 127
        return mask

    @property
    def c2w(self) -> Float[np.ndarray, "v 4 4"]:
        """The cameras."""
        return self.views.c2w[0].double().numpy()

    @property
    def lenses(self) -> list[Intrinsics]:
        """Theirs."""
        height, width = self.views.rgba.shape[2:4]
        return list(lenses(self.views.intrinsics[0], width, height))

    def gaussians(self, model: Zero1ToGDecoder | None) -> GaussianTensors:
        """The true ones, or what an autoencoder makes of them."""
        if model is None:
            splatters = self.views.splatters
            assert isinstance(splatters, SplatterImages)
            return gaussians_of(splatters.channels[0].float())
        return model.reconstructed(model.batch(self.views))[0]

    def pictures(self, model: Zero1ToGDecoder | None, count: int) -> Float[np.ndarray, "v h w 3"]:
        """From the first cameras, on white."""
        with torch.no_grad():
            seen = rasterize(self.gaussians(model), self.c2w[:count], self.lenses[:count])
        return seen.rgb.numpy().clip(0.0, 1.0)


def make_shards(workspace: Workspace, scale: Scale) -> None:
    """Compose, render and shard; what is there already is not made again."""
    catalog = CatalogParameters.model_validate({"objects": scale.objects, "split": {"val": 0.25, "test": 0.0}})
    build_catalog(catalog, 0, workspace)
    render(RenderParameters(views=scale.views, resolution=64), 0, workspace)
    make_splatters(SplatterParameters(resolution=_SIDE, check_views=1), 0, workspace)
    write_shards(ShardParameters(include=("splatter",)), workspace)


def trained(workspace: Workspace, stage: str, steps: int, **section: Any) -> Path:  # noqa: ANN401 - a system's section
    """The model of a stage of training, in a folder that the next one does not replace."""
    values = {
        **_STAGES[stage],
        "system": "zero_1_to_g",
        "zero_1_to_g": {**MODULES, "stage": stage, **section},
        "optimizer": {"learning_rate": 2e-3, "weight_decay": 0.0},
        "ema_decay": 0.95,
        "steps": steps,
        "checkpoint_every": steps,
    }
    target = workspace.root / f"{stage}_{steps}"
    if not target.is_dir():
        workspace.parameters.write_text(yaml.safe_dump({"seed": 0, "train": values}))
        train(TrainParameters.model_validate(values), workspace)
        shutil.copytree(workspace.model, target)
    return target


def subjects(workspace: Workspace, split: str) -> list[Subject]:
    """The objects of a split with all their views."""
    reader = ShardReader(workspace.shards, split, splatters=True)
    return [Subject(_views(reader, number)) for number in range(len(reader))]


def _views(reader: ShardReader, number: int) -> Views:
    read = reader.views(number, range(reader.view_count(number)))
    assert read.splatter is not None
    count = len(read.rgba)
    return Views(
        (read.uid,),
        np.arange(count)[None],
        torch.from_numpy(read.rgba)[None],
        torch.from_numpy(read.c2w).float()[None],
        torch.from_numpy(read.intrinsics).float()[None],
        torch.full((1, count, 3), torch.nan),
        stacked_splatters([read.splatter]),
    )


def model_of(folder: Path) -> Zero1ToGDecoder:
    """The autoencoder of a pipeline folder, ready to decode splatter images."""
    values = {**MODULES, "stage": "decoder", "pretrained": str(folder)}
    return Zero1ToGDecoder(Zero1ToGParameters.model_validate(values), 0).eval()


def scores(chosen: list[Subject], model: Zero1ToGDecoder | None) -> dict[str, float]:
    """Means over all views of all objects."""
    rows = [rendered_scores(each.gaussians(model), each.truth, each.covered, each.c2w, each.lenses) for each in chosen]
    return {name: float(np.mean([value for row in rows for value in row[name]])) for name in SCORES}


def white_psnr(chosen: list[Subject]) -> float:
    """Of white pictures, dB."""
    return float(np.mean([psnr(np.ones_like(truth), truth) for each in chosen for truth in each.truth]))


def write_sheet(path: Path, rows: dict[str, list[Subject]], before: Zero1ToGDecoder, after: Zero1ToGDecoder) -> None:
    """A row an object, two cameras of it: truth, true Gaussians, before, after."""
    line, label, tiles = 16, 66, []
    for name, chosen in rows.items():
        for each in chosen:
            columns = [each.truth[:2], *(each.pictures(model, 2) for model in (None, before, after))]
            tiles.append((name, np.concatenate([np.concatenate(column, axis=1) for column in columns], axis=1)))
    height, width = tiles[0][1].shape[:2]
    sheet = Image.new("RGB", (label + width, line + len(tiles) * height), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(11)
    for column, title in enumerate(("Blender", "true Gaussians", "before", "after")):
        draw.text((label + column * width // 4 + 4, 1), title, fill="black", font=font)
    for row, (name, pictures) in enumerate(tiles):
        draw.text((4, line + row * height + height // 2 - 6), name, fill="black", font=font)
        sheet.paste(Image.fromarray(np.rint(pictures * 255.0).astype(np.uint8)), (label, line + row * height))
    sheet.save(path, optimize=True)


def gains(workspace: Workspace, scale: Scale, sheet: Path | None = None) -> dict[str, float]:
    """What the second stage gains on training and on unseen objects, dB, after saying how it went."""
    make_shards(workspace, scale)
    pictures = trained(workspace, "autoencoder", scale.steps["autoencoder"])
    tuned = trained(workspace, "decoder", scale.steps["decoder"], pretrained=str(pictures))
    before, after = model_of(pictures), model_of(tuned)
    kinds = {"training": subjects(workspace, "train"), "unseen": subjects(workspace, "val")}
    found = {}
    for kind, chosen in kinds.items():
        print(f"{len(chosen)} {kind} objects: white pictures {white_psnr(chosen):.2f} dB")
        table = {"true Gaussians": None, "before": before, "after": after}
        results = {name: scores(chosen, model) for name, model in table.items()}
        for name, row in results.items():
            print(f"{kind}, {name}: {row['psnr']:.2f} dB, SSIM {row['ssim']:.4f}, alpha-IoU {row['alpha_iou']:.4f}")
        found[kind] = results["after"]["psnr"] - results["before"]["psnr"]
    if sheet:
        write_sheet(sheet, {kind: chosen[:3] for kind, chosen in kinds.items()}, before, after)
        print(f"pictures: {sheet}")
    return found


def main() -> int:
    """Measure; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer objects and steps")
    parser.add_argument("--workspace", type=Path, help="a folder to keep; a temporary one otherwise")
    parser.add_argument("--sheet", type=Path, help="a PNG file for the pictures")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace((arguments.workspace or Path(folder)).absolute())
        sheet = arguments.sheet or workspace.root / "splatter-decoder.png"
        found = gains(workspace, QUICK if arguments.quick else FULL, sheet)
    gain = min(found.values())
    print(
        f"splatter autoencoder: {found['unseen']:+.2f} dB on unseen objects, {found['training']:+.2f} dB on the training "
        f"objects (goal: {_GOAL_DB:g} dB)"
    )
    return int(gain < _GOAL_DB)


if __name__ == "__main__":
    sys.exit(main())
