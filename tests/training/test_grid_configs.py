"""The parameter files of Zero-1-to-G's first generation, shrunk to tiny pictures and networks, train one after the other."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL
from grid_engine_support import SIDE, SIZE, SYSTEM, grid_shards
from safetensors.torch import load_file

from flows.workspaces import PROJECT, chosen_parameters
from stage.workspace import Workspace
from systems.pipelines import load_pipeline
from systems.zero_1_to_g.grid.modules import GridModules, build_modules
from systems.zero_1_to_g.grid.parameters import Zero1ToGGridParameters
from systems.zero_1_to_g.grid.pipeline import Zero1ToGGridPipeline
from systems.zero_1_to_g.grid.splatter_decoder import SplatterDecoder
from training.parameters import TrainParameters
from training.run import train_here

DECODER, UNET = "zero_1_to_g_grid.yaml", "zero_1_to_g_grid-unet.yaml"


def pretrained(folder: Path) -> Path:
    """A pipeline folder with a real VAE, all of it tiny and random."""
    sizes = {**SYSTEM, "autoencoder": {"factor": 2}}
    parts: GridModules = build_modules(Zero1ToGGridParameters.model_validate(sizes), 0)
    torch.manual_seed(1)
    vae = AutoencoderKL(
        block_out_channels=(16, 16),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=12,
        norm_num_groups=8,
        scaling_factor=0.18215,
    )
    parts.vae, parts.splatter_decoder = vae, SplatterDecoder.from_vae(vae, splatter_size=SIDE)
    sized = {"image_size": SIZE, "input_size": SIZE, "condition_size": SIZE}
    Zero1ToGGridPipeline(**parts.networks(), scheduler=parts.scheduler, **sized).save_pretrained(folder)
    return folder


def shrunk(config: str, folder: Path) -> dict[str, Any]:
    """The section `train` with everything that takes time or machines made small, and nothing else touched."""
    section = chosen_parameters(PROJECT / "params.yaml", PROJECT / "configs" / config, [])["train"]
    train = TrainParameters.model_validate(section).model_dump(mode="json")
    train |= {"steps": 2, "batch_size": 2, "checkpoint_every": 2}
    train["launch"] |= {"processes": 1, "mixed_precision": "no"}
    train["data"] |= {"workers": 0, "size": None}
    train["samples"] |= {"every": 2, "pairs": 1, "inference_steps": 2}
    train["zero_1_to_g_grid"] |= {
        "pretrained": str(folder),
        "num_views": 7,
        "input_size": SIZE,
        "condition_size": SIZE,
    }
    return train


def changed(name: str, before: Path, after: Path) -> bool:
    """Whether a module has other weights."""
    one, other = (load_file(next((folder / name).glob("*.safetensors"))) for folder in (before, after))
    return any(not torch.equal(value, other[key]) for key, value in one.items())


def test_both_stages_train_one_after_the_other(
    render_boxes: Callable[..., Workspace], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    workspace = grid_shards(render_boxes, tmp_path / "workspace", tmp_path / "splatters")
    first = pretrained(tmp_path / "pretrained")
    for config, trained in ((DECODER, "splatter_decoder"), (UNET, "unet")):
        train = TrainParameters.model_validate(shrunk(config, first))
        train_here(train, 7, workspace)
        names = ("unet", "vae", "splatter_decoder", "image_encoder", "prompt")
        assert [name for name in names if changed(name, first, workspace.model)] == [trained]
        first = tmp_path / trained
        shutil.copytree(workspace.model, first)
        sheets = list(workspace.root.rglob("samples/step-*.png"))
        assert sheets
    assert isinstance(load_pipeline(first), Zero1ToGGridPipeline)
    assert len(list((workspace.scratch / "kept").rglob("codes/*/*.safetensors"))) > 0


def test_the_published_values() -> None:
    stages = [chosen_parameters(PROJECT / "params.yaml", PROJECT / "configs" / name, []) for name in (DECODER, UNET)]
    runs = [TrainParameters.model_validate(stage["train"]) for stage in stages]
    assert [run.optimizer.learning_rate for run in runs] == [1e-4, 2e-6]
    assert [run.optimizer.floor * run.optimizer.learning_rate for run in runs] == pytest.approx([1e-6, 1e-10])
    assert [run.zero_1_to_g_grid.supervision_views for run in runs] == [20, 14]
    assert all(run.optimizer.plateau.patience == 100 and run.optimizer.plateau.factor == 0.7 for run in runs)
    assert all(run.batch_size == run.launch.processes == 4 and run.launch.mixed_precision == "fp16" for run in runs)
    assert [run.zero_1_to_g_grid.loss.lambda_rendering for run in runs] == [1, 1]
