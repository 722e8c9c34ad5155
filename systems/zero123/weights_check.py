"""Whether weights fit a network: what is missing, superfluous or of another shape, in one list."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from diffusers import UNet2DConditionModel
from torch import Tensor
from transformers import CLIPVisionModelWithProjection

from stage.errors import InputError

_LISTED = 50


@dataclass(frozen=True)
class Mismatch:
    """A weight that does not fit.

    Args:
        module: which part of the system it belongs to.
        key: its name in the file.
        expected: the shape that the network has, None where it has no such weight.
        found: the shape in the file, None where it is missing.
    """

    module: str
    key: str
    expected: tuple[int, ...] | None
    found: tuple[int, ...] | None

    def __str__(self) -> str:
        expected = "nothing" if self.expected is None else str(self.expected)
        found = "nothing" if self.found is None else str(self.found)
        return f"{self.module}: {self.key}: expected {expected}, found {found}"


def mismatches(module: str, expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> list[Mismatch]:
    """What differs between the weights that a network has and those of a file, in the order of their names.

    Args:
        module: what to call the network.
        expected: its weights; they need no storage.
        found: the file's weights.
    """
    listed = []
    for key in sorted(expected.keys() | found.keys()):
        wanted, given = _shape(expected.get(key)), _shape(found.get(key))
        if wanted != given:
            listed.append(Mismatch(module, key, wanted, given))
    return listed


def refuse(place: object, listed: Sequence[Mismatch], remedy: str) -> None:
    """Raise an error that lists what does not fit, if anything.

    Args:
        place: the file or folder.
        listed: from `mismatches`.
        remedy: what to do.

    Raises:
        InputError: when the list is not empty.
    """
    if not listed:
        return
    missing = sum(each.found is None for each in listed)
    extra = sum(each.expected is None for each in listed)
    counts = f"{missing} weights missing, {extra} superfluous, {len(listed) - missing - extra} of another shape"
    raise InputError(f"{place} does not fit: {counts}", f"{remedy}\n" + "\n".join(_lines(listed)))


def require_embedding(encoder: CLIPVisionModelWithProjection, unet: UNet2DConditionModel, place: object) -> None:
    """Refuse an image encoder whose embedding is of another length than the denoiser's token.

    Raises:
        InputError: when they differ.
    """
    given, needed = encoder.config.projection_dim, unet.config.cross_attention_dim
    if given != needed:
        raise InputError(
            f"the image encoder's embedding has {given} numbers and {place} needs {needed}",
            "give the encoder that it was trained with",
        )


def _lines(listed: Sequence[Mismatch]) -> Iterable[str]:
    yield from (f"  {each}" for each in listed[:_LISTED])
    if len(listed) > _LISTED:
        yield f"  and {len(listed) - _LISTED} more"


def _shape(weight: Tensor | None) -> tuple[int, ...] | None:
    return None if weight is None else tuple(weight.shape)
