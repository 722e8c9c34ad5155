"""What a lack of memory says: one line with a remedy, on GPUs and without."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from stage.errors import StageFailedError

# What PyTorch says where no class of its own does.
_NO_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")


@contextmanager
def enough_memory(what: str, remedy: Callable[[], str]) -> Iterator[None]:
    """Do something that may take more memory than there is.

    Args:
        what: is done, for the message.
        remedy: what to lower, asked only where it is needed.

    Raises:
        StageFailedError: when memory does not suffice.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not isinstance(error, MemoryError) and not any(words in str(error) for words in _NO_MEMORY):
            raise
        raise StageFailedError(
            f"{what}: out of memory",
            remedy(),
            "gpu_memory" if isinstance(error, torch.OutOfMemoryError) else "host_memory",
        ) from error
