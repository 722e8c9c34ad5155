"""The optimiser: groups and their learning rates, settings that reach it, and what cannot be had said in one line."""

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import pytest
import torch

from stage.errors import ParameterError
from stage.parameters import validated
from systems.zero123.parameters import Zero123Parameters
from systems.zero123.training import Zero123Training
from training.optimizer import build_optimizer, is_fused, learning_rate_factors, set_rate
from training.parameters import OptimizerParameters

CPU = torch.device("cpu")


@pytest.fixture
def system(tiny_train: dict[str, Any]) -> Zero123Training:
    return Zero123Training(Zero123Parameters.model_validate(tiny_train["zero123"]), seed=0, image_size=16)


def optimizer_of(system: Zero123Training, device: torch.device = CPU, **settings: Any) -> torch.optim.Optimizer:
    return build_optimizer(OptimizerParameters.model_validate(settings), system, device)


def test_cc_projection_learns_ten_times_as_fast_unless_told_otherwise(system: Zero123Training) -> None:
    assert learning_rate_factors(OptimizerParameters(), system) == {"denoiser": 1.0, "cc_projection": 10.0}
    chosen = OptimizerParameters(factors={"cc_projection": 3.0, "denoiser": 0.5})
    assert learning_rate_factors(chosen, system) == {"denoiser": 0.5, "cc_projection": 3.0}


def test_every_trained_parameter_is_in_one_group(system: Zero123Training) -> None:
    optimizer = optimizer_of(system)
    grouped = [id(parameter) for group in optimizer.param_groups for parameter in group["params"]]
    assert sorted(grouped) == sorted(id(p) for p in system.parameters() if p.requires_grad)


def test_first_step_of_each_group_is_its_share_of_the_rate(system: Zero123Training) -> None:
    """Adam's first step is the learning rate, whatever the gradient."""
    optimizer = optimizer_of(system, weight_decay=0.0, factors={"cc_projection": 4.0})
    set_rate(optimizer, 1e-3)
    before = {name: p.detach().clone() for name, p in system.named_parameters()}
    for parameter in system.parameters():
        parameter.grad = torch.ones_like(parameter) if parameter.requires_grad else None
    optimizer.step()
    for name, parameter in system.named_parameters():
        moved = (before[name] - parameter).abs()
        expected = 0.0 if not parameter.requires_grad else 4e-3 if name.startswith("cc_projection") else 1e-3
        assert moved.max().item() == pytest.approx(expected, abs=1e-6), name


def test_settings_reach_the_optimiser(system: Zero123Training) -> None:
    optimizer = optimizer_of(system, betas=(0.8, 0.95), eps=1e-6, weight_decay=0.3)
    for group in optimizer.param_groups:
        assert (group["betas"], group["eps"], group["weight_decay"]) == ((0.8, 0.95), 1e-6, 0.3)


def test_a_factor_of_an_unknown_group_lists_the_valid_ones(system: Zero123Training) -> None:
    with pytest.raises(
        ParameterError, match=r"no group of parameters 'unet'; valid names are denoiser, cc_projection$"
    ):
        optimizer_of(system, factors={"unet": 2.0})


@pytest.mark.parametrize(
    "settings", [{"factors": {"cc_projection": 0}}, {"betas": (0.9, 1.0)}, {"eps": 0}, {"kind": "sgd"}]
)
def test_values_out_of_range_are_refused_in_one_line(settings: dict[str, Any]) -> None:
    with pytest.raises(ParameterError, match=r"^params\.yaml: train\.optimizer\.") as caught:
        validated(OptimizerParameters, settings, place="params.yaml: train.optimizer")
    assert "\n" not in str(caught.value)


def test_a_step_is_fused_on_cuda_alone_unless_told_otherwise() -> None:
    assert is_fused(OptimizerParameters(), torch.device("cuda"))
    assert not is_fused(OptimizerParameters(), CPU)
    assert is_fused(OptimizerParameters(fused=True), CPU)
    assert not is_fused(OptimizerParameters(fused=False), torch.device("cuda"))


def test_fused_steps_are_the_same_but_for_rounding(tiny_train: dict[str, Any]) -> None:
    parameters = Zero123Parameters.model_validate(tiny_train["zero123"])
    plain, fused = (Zero123Training(parameters, seed=0, image_size=16) for _ in range(2))
    optimizers = [optimizer_of(plain), optimizer_of(fused, fused=True)]
    for step in range(3):
        for system, optimizer in zip((plain, fused), optimizers, strict=True):
            chance = torch.Generator().manual_seed(step)
            for parameter in system.parameters():
                if parameter.requires_grad:
                    parameter.grad = torch.randn(parameter.shape, generator=chance)
            optimizer.step()
    for one, other in zip(plain.parameters(), fused.parameters(), strict=True):
        assert torch.allclose(one, other, atol=1e-6)


def test_eight_bits_without_a_gpu_are_refused_and_nothing_else_is_taken(system: Zero123Training) -> None:
    with pytest.raises(ParameterError, match=r"adamw_8bit needs a CUDA GPU; set it to adamw$"):
        optimizer_of(system, kind="adamw_8bit")


@pytest.mark.skipif(find_spec("bitsandbytes") is not None, reason="bitsandbytes is installed")
def test_eight_bits_without_their_package_name_the_extra(system: Zero123Training) -> None:
    with pytest.raises(ParameterError, match=r"needs bitsandbytes; pip install viewforge\[bitsandbytes\]$"):
        optimizer_of(system, torch.device("cuda"), kind="adamw_8bit")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU")
def test_eight_bits_move_as_32_bits_do(tiny_train: dict[str, Any], tmp_path: Any) -> None:
    pytest.importorskip("bitsandbytes")
    parameters = Zero123Parameters.model_validate(tiny_train["zero123"])
    device, moved = torch.device("cuda"), {}
    for kind in ("adamw", "adamw_8bit"):
        system = Zero123Training(parameters, seed=0, image_size=16).to(device)
        before = torch.cat([p.detach().flatten() for p in system.parameters() if p.requires_grad])
        optimizer = optimizer_of(system, device, kind=kind)
        for _ in range(3):
            for parameter in system.parameters():
                parameter.grad = torch.ones_like(parameter) if parameter.requires_grad else None
            optimizer.step()
        after = torch.cat([p.detach().flatten() for p in system.parameters() if p.requires_grad])
        moved[kind] = after - before
        torch.save(optimizer.state_dict(), tmp_path / kind)
        torch.load(tmp_path / kind, weights_only=True)
    assert torch.allclose(moved["adamw_8bit"], moved["adamw"], rtol=0.1, atol=1e-5)


def test_a_system_without_factors_of_its_own_learns_at_one_rate(
    system: Zero123Training, monkeypatch: pytest.MonkeyPatch
) -> None:
    own: Callable[[], dict[str, float]] = dict
    monkeypatch.setattr(system, "learning_rate_factors", own)
    assert set(learning_rate_factors(OptimizerParameters(), system).values()) == {1.0}
