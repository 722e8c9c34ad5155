"""Base-0123: apart from what is trained, refreshed by name, told by a hash, and back from a checkpoint."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from stage.errors import InputError
from systems.cascade_zero123.base import Base, BaseState
from systems.zero123.modules import Zero123Modules, build_modules
from systems.zero123.parameters import ImageEncoderParameters, Zero123Parameters


@pytest.fixture
def frozen(modules: Zero123Modules) -> Zero123Modules:
    modules.image_encoder.requires_grad_(False)
    return modules


def trained_on(modules: Zero123Modules) -> dict[str, torch.Tensor]:
    """Move the trained weights; they by their names."""
    named = {f"unet.{name}": p for name, p in modules.unet.named_parameters()}
    named |= {f"cc_projection.{name}": p for name, p in modules.cc_projection.named_parameters()}
    with torch.no_grad():
        for parameter in named.values():
            parameter += 0.01
    return named


def test_training_does_not_move_the_base(frozen: Zero123Modules) -> None:
    base = Base(frozen)
    before = base.sha256
    trained_on(frozen)
    assert Base(frozen).sha256 != before
    base._sha256 = ""
    assert base.sha256 == before
    assert not any(parameter.requires_grad for parameter in base.parameters())
    assert not base.train().training


def test_what_is_frozen_is_shared_and_what_is_trained_is_not(frozen: Zero123Modules) -> None:
    assert Base(frozen).parts.image_encoder is frozen.image_encoder
    frozen.image_encoder.requires_grad_(True)
    assert Base(frozen).parts.image_encoder is not frozen.image_encoder


def test_a_refreshed_base_is_the_average(frozen: Zero123Modules) -> None:
    base = Base(frozen)
    averages = trained_on(frozen)
    base.refresh(averages)
    assert base.sha256 == Base(frozen).sha256
    with torch.no_grad():
        averages["unet.conv_in.weight"] += 1
    assert base.sha256 != Base(frozen).sha256, "a copy"


def test_settings_count_beside_weights(tiny: Callable[..., Zero123Parameters]) -> None:
    """Heads of an attention, scaling of latents, noise: no weight tells of them."""
    one = tiny()
    heads = one.unet.model_copy(update={"attention_heads": 8})
    encoder = ImageEncoderParameters(**{**one.image_encoder.model_dump(), "heads": 1})
    scale = one.autoencoder.model_copy(update={"scaling_factor": 0.4})
    variants: list[dict[str, Any]] = [{}, {"unet": heads}, {"image_encoder": encoder}, {"autoencoder": scale}]
    variants.append({"prediction_type": "sample"})
    hashes = {Base(build_modules(tiny(**changes), 0)).sha256 for changes in variants}
    assert len(hashes) == len(variants)


def test_a_refreshed_base_comes_back_from_a_checkpoint(frozen: Zero123Modules, tmp_path: Path) -> None:
    base = Base(frozen)
    base.refresh(trained_on(frozen))
    torch.save(BaseState(base, refreshed=True).state_dict(), tmp_path / "base.pt")
    trained_on(frozen)
    other = Base(frozen)
    state = torch.load(tmp_path / "base.pt", weights_only=True)
    BaseState(other, refreshed=True).load_state_dict(state)
    assert other.sha256 == base.sha256


def test_a_fixed_base_is_not_kept_twice_but_must_be_the_same(frozen: Zero123Modules) -> None:
    state = BaseState(Base(frozen), refreshed=False).state_dict()
    assert state["weights"] == {}
    BaseState(Base(frozen), refreshed=False).load_state_dict(state)
    trained_on(frozen)
    with pytest.raises(InputError, match=r"Base-0123 had other weights; restore train\.cascade_zero123\.pretrained"):
        BaseState(Base(frozen), refreshed=False).load_state_dict(state)
