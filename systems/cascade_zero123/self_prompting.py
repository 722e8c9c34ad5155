"""How a training prompts itself: when prompts are sampled, and when the Base becomes the Refiner's average.

The published script overwrites the Base after every step with the average as it was before that step took part in it
(train_cascade0123.py copies the EMA first and updates it then). A Base that is another one in every step leaves nothing to keep
or to sample ahead, so it is refreshed on a schedule here, of which `refresh_every: 1` is the published one. The order is kept.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from torch import Tensor, nn

from systems.cascade_zero123.base import Base, BaseState
from systems.cascade_zero123.parameters import CascadeParameters
from systems.cascade_zero123.prompter import Prompter
from systems.trainable import Stateful, TrainableSystem, Views
from systems.zero123.modules import Zero123Modules


class SelfPrompting(TrainableSystem):
    """The part of a trainable system that has a Base; the trained modules are `unet` and `cc_projection`."""

    def prompt_itself(self, modules: Zero123Modules, parameters: CascadeParameters, seed: int) -> None:
        """Make the Base.

        Args:
            modules: what the Base begins as; the image encoder and the VAE are shared with it.
            parameters: which prompts, and what becomes of the Base.
            seed: of the prompts' noise.
        """
        self.base = Base(modules)
        self.prompter = Prompter(self.base, parameters.prompts, seed, parameters.background)
        self._ahead = parameters.prompts.look_ahead
        self._refresh_every = parameters.refresh_every if parameters.base == "refreshed" else None
        self._shared = (modules.image_encoder, modules.vae)

    def keep_in(self, folder: Path) -> None:
        """Keep prompts on disk."""
        self.prompter.keep_in(folder)

    def look_ahead(self, step: int) -> int:
        """As many batches as are to be prepared together, none of them past the next refresh."""
        if not self.prompter.keeps:
            return 1
        every = self._refresh_every
        return self._ahead if every is None else min(self._ahead, every - step % every)

    def prepare(self, batches: Sequence[Views]) -> None:
        """Sample the prompts of some batches together."""
        self.prompter.prepare(batches)

    def stepped(self, steps: int, averages: Callable[[], Mapping[str, Tensor]]) -> None:
        """Refresh the Base where it is due, with the average as it was before the step."""
        if self._refresh_every and steps % self._refresh_every == 0:
            self.base.refresh(averages())

    def states(self) -> Mapping[str, Stateful]:
        """The Base."""
        return {"base": BaseState(self.base, refreshed=self._refresh_every is not None)}

    def whole_modules(self) -> Sequence[nn.Module]:
        """The Base's modules, which sample outside the forward pass."""
        return (self.base, *self._shared)
