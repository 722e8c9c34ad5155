"""The frameworks' random generators of a process, as values that a checkpoint holds.

The engine's own draws derive from seeds and need none of them; a system's layers, such as dropout, may use them.
"""

import random
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object


class Randomness:
    """The generators of all processes.

    Args:
        accelerator: the processes.
    """

    def __init__(self, accelerator: Accelerator) -> None:
        self._accelerator = accelerator

    def state_dict(self) -> dict[str, Any]:
        """Python's, NumPy's, torch's and the GPU's generator of each process; all processes have to call this."""
        return {"processes": gather_object([_states(self._accelerator.device)])}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Set this process' generators; left as they are when there were more or fewer processes."""
        processes: Sequence[dict[str, Any]] = state["processes"]
        if len(processes) == self._accelerator.num_processes:
            _restore(processes[self._accelerator.process_index], self._accelerator.device)


def _states(device: torch.device) -> dict[str, Any]:
    kind, key, *rest = cast(tuple[Any, ...], np.random.get_state(legacy=True))
    return {
        "python": random.getstate(),
        "numpy": [kind, key.tolist(), *rest],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
    }


def _restore(states: dict[str, Any], device: torch.device) -> None:
    version, internal, gauss = states["python"]
    random.setstate((version, tuple(internal), gauss))
    np.random.set_state(tuple(states["numpy"]))
    torch.set_rng_state(states["torch"])
    if device.type == "cuda" and states["cuda"] is not None:
        torch.cuda.set_rng_state(states["cuda"], device)
