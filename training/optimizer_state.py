"""An optimiser's state by the names of its parameters and in whole tensors: one form for one process, DDP and sharded weights."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn

from stage.errors import InputError
from training.processes import placed_as, whole


class OptimizerState:
    """The state of an optimiser.

    Args:
        optimizer: of the named parameters.
        named: the parameters.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, named: Mapping[str, nn.Parameter]) -> None:
        self._optimizer, self._named = optimizer, dict(named)
        names = {id(parameter): name for name, parameter in named.items()}
        # In this order torch numbers the parameters of a state.
        self._names = [names[id(p)] for group in optimizer.param_groups for p in group["params"]]

    def state_dict(self) -> dict[str, Any]:
        """The state, its tensors on the CPU; all processes have to call this."""
        state = self._optimizer.state_dict()
        groups = [{**group, "params": [self._names[n] for n in group["params"]]} for group in state["param_groups"]]
        return {"groups": groups, "state": {self._names[n]: dict(_saved(own)) for n, own in state["state"].items()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a state.

        Raises:
            InputError: when it is one of other parameters.
        """
        names = [name for group in state["groups"] for name in group["params"]]
        if names != self._names:
            raise InputError("the checkpoint's optimiser has other parameters", "keep train.optimizer as it was")
        numbers = {name: number for number, name in enumerate(self._names)}
        groups = [{**group, "params": [numbers[name] for name in group["params"]]} for group in state["groups"]]
        own = {numbers[name]: dict(self._placed(name, values)) for name, values in state["state"].items()}
        self._optimizer.load_state_dict({"param_groups": groups, "state": own})

    def _placed(self, name: str, values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
        parameter = self._named[name]
        for key, value in values.items():
            # What is no larger than one number, a count of steps, torch keeps where it wants.
            moment = isinstance(value, torch.Tensor) and value.shape == parameter.shape and value.dim() > 0
            yield key, placed_as(value, parameter) if moment else value


def _saved(values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        yield key, whole(value).cpu() if isinstance(value, torch.Tensor) else value
