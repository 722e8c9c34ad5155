"""Zero-1-to-G's stages `autoencoder` and `decoder` on the training engine."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from engine_support import killed_after, losses
from splatter_training_support import autoencoder, decoder, views

from geometry.splatter_tensor import SplatterCameras, StoredSplatter
from systems.trainable import TrainableSystem
from training.data.batches import ViewChoice
from training.data.loader import PlannedLoader
from training.data.mixture import Mixed
from training.data.plan import Plan
from training.data.views import ObjectViews
from training.engine import Engine
from training.feed import Feed
from training.parameters import TrainParameters
from training.preemption import Notice
from training.tracking.tracker import Silence

STEPS, BATCH = 4, 2
# Normals and depth begin to count after the kill.
LATER = {"normal": 0.1, "depth": 0.1, "geometry_from_step": 3}


@dataclass
class Outcome:
    """What a training came to."""

    losses: list[float]
    averages: dict[str, torch.Tensor]


def balls() -> list[ObjectViews]:
    """Two scenes with a ball."""
    made = []
    for turn in (0.0, 0.9):
        seen = views(turn, samples=1)
        assert seen.splatters is not None
        splatters = seen.splatters
        cameras = SplatterCameras(splatters.c2w[0].double().numpy(), splatters.intrinsics[0].double().numpy())
        made.append(
            ObjectViews(
                f"ball {turn}",
                seen.rgba[0].numpy(),
                seen.c2w[0].double().numpy(),
                seen.intrinsics[0].double().numpy(),
                splatter=StoredSplatter(splatters.channels[0].numpy(), cameras),
            )
        )
    return made


def trained(system: TrainableSystem, folder: Path, **changes: Any) -> Outcome:
    """Run to the end from wherever the folder's checkpoints left off."""
    AcceleratorState._reset_state(reset_partial_state=True)
    accelerator = Accelerator(cpu=True)
    section = {"steps": STEPS, "batch_size": BATCH, "checkpoint_every": 2, "optimizer": {"warmup_steps": 1}}
    run = TrainParameters.model_validate({**section, "system": "zero_1_to_g", **changes})
    loader = PlannedLoader(Plan((Mixed("balls", 2),), BATCH, 1), {"balls": balls()}, ViewChoice(drawn=1, last=(0,)))
    folder.mkdir(parents=True, exist_ok=True)
    engine = Engine(run, 7, system, Feed(loader, accelerator), folder, accelerator, Silence(), Notice())
    engine.run()
    return Outcome(losses(folder), dict(engine.averages()))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline with an autoencoder that was trained for some steps."""
    root = tmp_path_factory.mktemp("autoencoder")
    system = autoencoder()
    told = trained(system, root / "training")
    assert len(told.losses) == STEPS
    assert set(told.averages) == {name for name, _ in system.named_parameters()}
    system.save(root / "model")
    return root / "model"


def test_steps_a_kill_and_steps_equal_all_steps(model: Path, tmp_path: Path) -> None:
    whole = trained(decoder(model, **LATER), tmp_path / "whole")
    killed_after(2, tmp_path / "whole", tmp_path / "killed")
    again = trained(decoder(model, **LATER), tmp_path / "killed")
    assert again.losses == whole.losses
    assert set(again.averages) == set(whole.averages)
    assert all(torch.equal(again.averages[name], tensor) for name, tensor in whole.averages.items())


def test_a_step_cut_for_accumulation_is_the_same_step(model: Path, tmp_path: Path) -> None:
    """By its losses: of biases without a slope Adam makes full steps of what is rounded."""
    whole = trained(decoder(model), tmp_path / "whole", steps=3)
    halves = trained(decoder(model), tmp_path / "halves", steps=3, launch={"accumulate": 2})
    assert halves.losses == pytest.approx(whole.losses, rel=1e-4)
