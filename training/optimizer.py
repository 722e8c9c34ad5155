"""The optimiser: AdamW over a system's groups of parameters, each with its own factor of the learning rate.

optimizer = build_optimizer(parameters, system, device)
set_rate(optimizer, 1e-4)
"""

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

import torch

from stage.errors import ParameterError
from systems.trainable import TrainableSystem
from training.parameters import OptimizerParameters

_FACTOR = "factor"


def build_optimizer(
    parameters: OptimizerParameters, system: TrainableSystem, device: torch.device
) -> torch.optim.Optimizer:
    """The optimiser of a system's trained parameters.

    Args:
        parameters: kind and settings.
        system: whose `parameter_groups` are trained.
        device: where the steps will be taken.

    Raises:
        ParameterError: when a factor is of a group that the system has not, or the kind cannot be had here.
    """
    groups = _groups(parameters, system)
    common: dict[str, Any] = {
        "lr": parameters.learning_rate,
        "betas": parameters.betas,
        "eps": parameters.eps,
        "weight_decay": parameters.weight_decay,
    }
    if parameters.kind == "adamw_8bit":
        return _eight_bit(groups, common, device)
    # None leaves the choice between a loop and one kernel an operation to PyTorch; False would forbid the second.
    return torch.optim.AdamW(groups, **common, fused=is_fused(parameters, device) or None)


def is_fused(parameters: OptimizerParameters, device: torch.device) -> bool:
    """Whether a step of AdamW is one kernel."""
    return device.type == "cuda" if parameters.fused == "auto" else parameters.fused


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give every group its share of a learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group[_FACTOR]


def learning_rates(optimizer: torch.optim.Optimizer) -> list[float]:
    """That of each group, in their order."""
    return [float(group["lr"]) for group in optimizer.param_groups]


def learning_rate_factors(parameters: OptimizerParameters, system: TrainableSystem) -> Mapping[str, float]:
    """The factor of each of the system's groups: the one asked for, the system's own, or 1.

    Raises:
        ParameterError: when a factor is of a group that the system has not.
    """
    names = list(system.parameter_groups())
    for name in parameters.factors:
        if name not in names:
            raise ParameterError(
                f"train.optimizer.factors: the system has no group of parameters {name!r}",
                f"valid names are {', '.join(names)}",
            )
    chosen = {**system.learning_rate_factors(), **parameters.factors}
    return {name: chosen.get(name, 1.0) for name in names}


def _groups(parameters: OptimizerParameters, system: TrainableSystem) -> list[dict[str, Any]]:
    factors = learning_rate_factors(parameters, system)
    return [{"params": list(members), _FACTOR: factors[name]} for name, members in system.parameter_groups().items()]


def _eight_bit(groups: list[dict[str, Any]], common: Mapping[str, Any], device: torch.device) -> torch.optim.Optimizer:
    if device.type != "cuda":
        raise ParameterError("train.optimizer.kind = adamw_8bit needs a CUDA GPU", "set it to adamw")
    if find_spec("bitsandbytes") is None:
        raise ParameterError(
            "train.optimizer.kind = adamw_8bit needs bitsandbytes", "pip install viewforge[bitsandbytes]"
        )
    from bitsandbytes.optim import AdamW8bit

    optimizer: torch.optim.Optimizer = AdamW8bit(groups, **common)
    return optimizer
