"""The parameter files of Zero-1-to-G's stages hold what was published, and really train, shrunk to tiny pictures and networks."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL
from safetensors.torch import load_file
from splatter_boxes_support import boxes_with_splatters, layout_cameras
from tiny_modules import IMAGE_ENCODER

from flows.workspaces import PROJECT, chosen_parameters
from stage.workspace import Workspace
from systems.zero123.modules import build_modules
from systems.zero123.parameters import Zero123Parameters
from systems.zero123.pipeline import Zero123Pipeline
from systems.zero_1_to_g.parameters import ViewLayout
from training.parameters import TrainParameters
from training.run import train_here

STAGES = {"zero_1_to_g": "decoder", "zero_1_to_g-attributes": "attributes", "zero_1_to_g-joint": "joint"}
TINY_UNET = {"block_channels": [32, 32], "attention_heads": 2, "layers_per_block": 1, "norm_groups": 8}


def parameters(config: str) -> TrainParameters:
    """The section `train` of a file."""
    section = chosen_parameters(PROJECT / "params.yaml", PROJECT / "configs" / f"{config}.yaml", [])["train"]
    return TrainParameters.model_validate(section)


@pytest.mark.parametrize(
    ("config", "steps", "batch", "rate", "terminal"),
    [
        ("zero_1_to_g", 30_000, 32, 5e-6, True),
        ("zero_1_to_g-attributes", 30_000, 64, 1e-4, False),
        ("zero_1_to_g-joint", 20_000, 64, 5e-5, True),
    ],
)
def test_stages_are_trained_as_published(config: str, steps: int, batch: int, rate: float, terminal: bool) -> None:
    train = parameters(config)
    system = train.zero_1_to_g
    assert (train.system, system.stage) == ("zero_1_to_g", STAGES[config])
    assert (train.steps, train.batch_size, train.optimizer.learning_rate) == (steps, batch, rate)
    assert (system.zero_terminal_snr, system.snr_gamma, system.dropout) == (terminal, 5.0, 0.05)
    assert (system.synchronised_timesteps, system.embedding_factor, train.optimizer.factors) == (True, 10.0, {})
    assert (system.image_encoder.train, train.optimizer.warmup_steps) == (False, 100)
    assert train.data.size == 128


def test_the_stages_have_the_same_data() -> None:
    files = [chosen_parameters(PROJECT / "params.yaml", PROJECT / "configs" / f"{name}.yaml", []) for name in STAGES]
    for section in ("catalog", "render", "splatter", "shard"):
        assert files[0][section] == files[1][section] == files[2][section]


@pytest.fixture(scope="module")
def workspace(render_boxes: Callable[..., Workspace], tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Shards of boxes with splatter images of the published layout."""
    layout = ViewLayout()
    cameras = layout_cameras(layout.azimuths_deg, layout.elevations_deg)
    return boxes_with_splatters(render_boxes, tmp_path_factory.mktemp("six_views"), 2, cameras)


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the parts that image-variations has, all of it tiny and random."""
    tiny = {"unet": TINY_UNET, "image_encoder": IMAGE_ENCODER, "autoencoder": {"factor": 2}}
    modules = build_modules(Zero123Parameters.model_validate(tiny), 0)
    torch.manual_seed(1)
    vae = AutoencoderKL(
        block_out_channels=(32, 32),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=12,
        norm_num_groups=8,
    )
    folder = tmp_path_factory.mktemp("pretrained")
    Zero123Pipeline(
        modules.unet, modules.cc_projection, modules.image_encoder, vae, modules.scheduler
    ).save_pretrained(folder)
    return folder


def shrunk(config: str, pretrained: Path) -> dict[str, Any]:
    """The section `train` with everything that takes time or machines made small, and nothing else touched."""
    train: dict[str, Any] = parameters(config).model_dump(mode="json")
    train |= {"steps": 2, "batch_size": train["launch"]["accumulate"], "checkpoint_every": 2}
    train["launch"]["processes"] = 1
    train["data"]["workers"], train["data"]["size"] = 0, None
    system = train["zero_1_to_g"]
    system["pretrained"] = str(pretrained)
    system["supervision_views"] = min(system["supervision_views"], 2)
    return train


@pytest.mark.parametrize("config", STAGES)
def test_a_shrunk_stage_trains(
    config: str,
    workspace: Workspace,
    pretrained: Path,
    empty_database: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    train = shrunk(config, pretrained)
    train_here(TrainParameters.model_validate(train), 7, workspace)
    after = {
        name: load_file(workspace.model / name / "diffusion_pytorch_model.safetensors") for name in ("vae", "unet")
    }
    vae = load_file(pretrained / "vae" / "diffusion_pytorch_model.safetensors")
    decoded = {name for name, value in vae.items() if not torch.equal(value, after["vae"][name])}
    if STAGES[config] == "decoder":
        assert decoded
        assert all(name.startswith(("decoder.", "post_quant_conv.")) for name in decoded)
    else:
        assert not decoded
        assert any("joint" in name for name in after["unet"]) is (STAGES[config] == "joint")
    encoder = "image_encoder/model.safetensors"
    before, kept = (load_file(folder / encoder) for folder in (pretrained, workspace.model))
    assert all(torch.equal(value, kept[name]) for name, value in before.items())
