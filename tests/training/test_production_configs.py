"""Every parameter file of `configs/`, shrunk to tiny pictures and networks, really trains with its precision and hardware."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL
from safetensors.torch import load_file
from tiny_modules import IMAGE_ENCODER

from flows.workspaces import PROJECT, chosen_parameters
from stage.workspace import Workspace
from systems.zero123.modules import build_modules
from systems.zero123.parameters import Zero123Parameters
from systems.zero123.pipeline import Zero123Pipeline
from training.parameters import TrainParameters
from training.run import train_here

# Those of Zero-1-to-G, which learns from splatter images: test_zero_1_to_g_configs.
CONFIGS = [
    path.name for path in sorted((PROJECT / "configs").glob("*.yaml")) if not path.name.startswith("zero_1_to_g")
]
TINY_UNET = {"block_channels": [32, 32], "attention_heads": 2, "layers_per_block": 1, "norm_groups": 8}


@pytest.fixture
def pretrained(tmp_path: Path) -> Path:
    """A pipeline folder with a real VAE, all of it tiny and random."""
    parameters = Zero123Parameters.model_validate(
        {
            "unet": TINY_UNET,
            "image_encoder": IMAGE_ENCODER,
            "autoencoder": {"factor": 2},
            "prediction_type": "epsilon",
            "zero_terminal_snr": False,
        }
    )
    modules = build_modules(parameters, 0)
    torch.manual_seed(1)
    vae = AutoencoderKL(
        block_out_channels=(32, 32),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=12,
        norm_num_groups=8,
    )
    folder = tmp_path / "pretrained"
    Zero123Pipeline(
        modules.unet, modules.cc_projection, modules.image_encoder, vae, modules.scheduler
    ).save_pretrained(folder)
    return folder


def shrunk(config: str, pretrained: Path) -> dict[str, Any]:
    """The section `train` with everything that takes time or machines made small, and nothing else touched."""
    section = chosen_parameters(PROJECT / "params.yaml", PROJECT / "configs" / config, [])["train"]
    train = TrainParameters.model_validate(section).model_dump(mode="json")
    train |= {"steps": 2, "batch_size": 2 * train["launch"]["accumulate"], "checkpoint_every": 2}
    train["launch"]["processes"] = 1
    train["hardware"]["compile"] = None
    train["data"]["workers"], train["data"]["size"] = 0, None
    system = train[train["system"]]
    system["unet"] |= TINY_UNET
    system["image_encoder"] |= IMAGE_ENCODER
    if system["pretrained"]:
        system["pretrained"] = str(pretrained)
    if "mode" in system:
        # The boxes come without depth, by which the released mode divides.
        system["mode"] = "7dof_unscaled"
    if "prompts" in system:
        system["prompts"] |= {"inference_steps": 2, "prompt_batch": 8}
    return train


@pytest.mark.parametrize("config", CONFIGS)
def test_a_shrunk_production_config_trains(
    config: str, trainable: Callable[..., Workspace], pretrained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    train = shrunk(config, pretrained)
    workspace = trainable(**train)
    train_here(TrainParameters.model_validate(train), 7, workspace)
    check_gradients(workspace, train["optimizer"]["factors"].get("cc_projection", 10.0))
    if train[train["system"]]["pretrained"]:
        check_frozen(workspace, pretrained)


def check_gradients(workspace: Workspace, factor: float) -> None:
    """The projection learns by its factor, every trained parameter has had a gradient, and every group one that is not zero.

    Queries and keys of the attention to a single token have none that is not: its softmax is 1 whatever they are.
    """
    (path,) = workspace.scratch.glob("training/*/checkpoints/step-*/training_state/optimizer.pt")
    optimizer = torch.load(path, weights_only=True)
    assert [group["factor"] for group in optimizer["groups"]] == [1.0, factor]
    for group in optimizer["groups"]:
        moments = [optimizer["state"][name]["exp_avg"] for name in group["params"]]
        assert all(moment.isfinite().all() for moment in moments)
        assert sum(float(moment.abs().sum()) for moment in moments) > 0
    assert len(optimizer["state"]) == sum(len(group["params"]) for group in optimizer["groups"])


def check_frozen(workspace: Workspace, pretrained: Path) -> None:
    """What is not trained keeps every bit; what is does not."""
    for name, frozen in {
        "vae/diffusion_pytorch_model": True,
        "image_encoder/model": True,
        "unet/diffusion_pytorch_model": False,
        "cc_projection/diffusion_pytorch_model": False,
    }.items():
        before, after = (load_file(folder / f"{name}.safetensors") for folder in (pretrained, workspace.model))
        assert all(torch.equal(value, after[key]) for key, value in before.items()) is frozen, name
