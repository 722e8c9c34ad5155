"""How each system is made without its weights: the networks that a training begins with, or the published ones in their place."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn
from torch._subclasses.fake_tensor import unset_fake_temporarily

from systems.trainable import TrainableSystem
from systems.zero123.outline import modules_of_folder, networks, published_modules
from systems.zero123.parameters import Zero123Parameters
from systems.zero123.training import Zero123Training
from systems.zero_1_to_g.diffusion_training import Zero1ToGDiffusion
from systems.zero_1_to_g.modules import Networks, Zero1ToGModules, first_schedule
from systems.zero_1_to_g.outline import outlined_networks, published_networks, stored_networks
from systems.zero_1_to_g.parameters import Zero1ToGParameters
from systems.zero_1_to_g.schedule import build_schedule


class Blueprint(ABC):
    """A system to be made within a `FakeTensorMode`."""

    @abstractmethod
    def first(self) -> Any:  # noqa: ANN401 - a system's own modules
        """The modules that the parameters describe.

        Raises:
            InputError: when the folder that they name is not there, or is damaged.
        """

    @abstractmethod
    def published(self) -> Any:  # noqa: ANN401 - likewise
        """The published ones."""

    @abstractmethod
    def system(self, modules: Any, image_size: int) -> TrainableSystem:  # noqa: ANN401 - likewise
        """What is trained of them."""

    @abstractmethod
    def stored(self, folder: Path) -> Mapping[str, nn.Module]:
        """The networks whose weights a folder has to hold, by the name of their own folder in it."""


class OfPairs(Blueprint):
    """Zero-1-to-3 and what has its network.

    Args:
        parameters: of the system.
        kind: of system.
    """

    def __init__(self, parameters: Zero123Parameters, kind: type[Zero123Training]) -> None:
        self._parameters, self._kind = parameters, kind

    def first(self) -> Any:  # noqa: ANN401 - as the parent's
        """See `Blueprint`."""
        folder = self._parameters.pretrained
        return modules_of_folder(Path(folder)) if folder else self._kind.new_modules(self._parameters, 0)

    def published(self) -> Any:  # noqa: ANN401 - as the parent's
        """See `Blueprint`."""
        return published_modules()

    def system(self, modules: Any, image_size: int) -> TrainableSystem:  # noqa: ANN401 - as the parent's
        """See `Blueprint`."""
        return self._kind(self._parameters, 0, image_size, modules)

    def stored(self, folder: Path) -> Mapping[str, nn.Module]:
        """See `Blueprint`."""
        return networks(modules_of_folder(folder))


class OfAttributes(Blueprint):
    """The denoiser of Zero-1-to-G.

    Args:
        parameters: of the stage `attributes` or `joint`.
    """

    def __init__(self, parameters: Zero1ToGParameters) -> None:
        self._parameters = parameters

    def first(self) -> Any:  # noqa: ANN401 - as the parent's
        """See `Blueprint`."""
        made: Networks = outlined_networks(self._parameters)
        # Schedules are compared by their numbers, which tensors of shapes alone do not have.
        with unset_fake_temporarily():
            schedule = first_schedule(self._parameters)
        return Zero1ToGModules(*made, schedule)

    def published(self) -> Any:  # noqa: ANN401 - as the parent's
        """See `Blueprint`."""
        with unset_fake_temporarily():
            schedule = build_schedule(self._parameters)
        return Zero1ToGModules(*published_networks(self._parameters), schedule)

    def system(self, modules: Any, image_size: int) -> TrainableSystem:  # noqa: ANN401 - as the parent's
        """See `Blueprint`."""
        return Zero1ToGDiffusion(self._parameters, 0, image_size, modules)

    def stored(self, folder: Path) -> Mapping[str, nn.Module]:
        """See `Blueprint`."""
        return stored_networks(folder)
