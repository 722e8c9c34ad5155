"""The places of a batch: tensors that pictures and cameras are laid into one by one, as they are decoded.

In a loader's worker they lie in the memory that the main process maps, where anything else would be copied to.
"""

import math
from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor
from torch.utils.data import get_worker_info

from blender_render.view_codecs import Room
from geometry.splatter_tensor import StoredSplatter
from stage.errors import InputError
from systems.trainable import SplatterImages


class BatchPlaces:
    """A batch that is being made.

    Args:
        draws: how many there are.
        views: how many each takes.
        size: width and height of all pictures, pixels; None is that of the first object that is whole.
    """

    def __init__(self, draws: int, views: int, size: int | None) -> None:
        self.views: Int[np.ndarray, "b v"] = np.zeros((draws, views), dtype=np.int64)
        self.c2w: Float[Tensor, "b v 4 4"] = _room((draws, views, 4, 4), torch.float64)
        self.intrinsics: Float[Tensor, "b v 4"] = _room((draws, views, 4), torch.float64)
        self.scales: Float[Tensor, "b v 3"] = _room((draws, views, 3), torch.float64)
        self.rgba: UInt8[Tensor, "b v h w 4"] = _room((draws, views, size or 0, size or 0, 4), torch.uint8)
        # Tensors are slow to write small pieces to.
        self._c2w, self._intrinsics, self._rgba = self.c2w.numpy(), self.intrinsics.numpy(), self.rgba.numpy()
        self._scales = self.scales.numpy()
        self._scales[:] = np.nan
        self._sized = size is not None
        self._uids: dict[int, str] = {}
        self._splatters: dict[int, StoredSplatter] = {}
        self._shapes: dict[int, tuple[int, ...]] = {}

    @property
    def empty(self) -> list[int]:
        """Places that are not finished."""
        return [place for place in range(len(self.views)) if place not in self._uids]

    @property
    def uids(self) -> tuple[str, ...]:
        """Of the objects at all places."""
        return tuple(self._uids[place] for place in range(len(self.views)))

    def odd(self) -> tuple[int, str] | None:
        """A finished place whose pictures are not of the batch's size, and what to say of it; None where there is none."""
        shape = tuple(self.rgba.shape[2:])
        fitting = next(place for place in self._uids if self._shapes[place] == shape)
        odd = [place for place in range(len(self.views)) if self._shapes[place] != shape]
        if not odd:
            return None
        sizes = [f"{self._shapes[place][1]}×{self._shapes[place][0]}" for place in (odd[0], fitting)]
        said = f"{self._uids[odd[0]]} has {sizes[0]} pixels, {self._uids[fitting]} of the same batch {sizes[1]}"
        return odd[0], said

    def room(self, place: int, number: int) -> Room:
        """Where the picture of one of a place's views lies if it is of the batch's size."""
        return partial(self._slot, place, number)

    def lay(self, place: int, number: int, picture: UInt8[np.ndarray, "h w 4"]) -> None:
        """Write the picture of one of a place's views, unless it lies there already."""
        self._shapes[place] = picture.shape
        slot = self._slot(place, number, picture.shape)
        if slot is not None and not np.may_share_memory(slot, picture):
            slot[:] = picture

    def _slot(self, place: int, number: int, shape: tuple[int, ...]) -> UInt8[np.ndarray, "h w 4"] | None:
        if shape != self._rgba.shape[2:] and not self._sized:
            self.rgba = _room((*self.views.shape, *shape), torch.uint8)
            self._rgba = self.rgba.numpy()
        return self._rgba[place, number] if shape == self._rgba.shape[2:] else None

    def keep_size(self) -> None:
        """Say that an object is whole, so that its size is the batch's."""
        self._sized = True

    def note(self, place: int, number: int, c2w: Float[np.ndarray, "4 4"], intrinsics: Float[np.ndarray, "4"]) -> None:
        """Write the camera of one of a place's views."""
        self._c2w[place, number] = c2w
        self._intrinsics[place, number] = intrinsics

    def note_scales(self, place: int, number: int, scales: Float[np.ndarray, "3"]) -> None:
        """Write the scales of one of a place's views, where they are known."""
        self._scales[place, number] = scales

    def note_splatter(self, place: int, splatter: StoredSplatter) -> None:
        """Keep the splatter images of a place's object."""
        self._splatters[place] = splatter

    def splatters(self) -> SplatterImages | None:
        """Those of all places; None where none are noted.

        Raises:
            InputError: when they differ in number or size.
        """
        return stacked_splatters([self._splatters[place] for place in sorted(self._splatters)])

    def finish(self, place: int, uid: str, chosen: Sequence[int]) -> None:
        """Say whose views these are, and their numbers."""
        self.views[place] = chosen
        self._uids[place] = uid


def stacked_splatters(stored: Sequence[StoredSplatter]) -> SplatterImages | None:
    """The splatter images of several objects, which have cameras; None of none.

    Raises:
        InputError: when they differ in number or size.
    """
    if not stored:
        return None
    shapes = sorted({one.channels.shape for one in stored})
    if len(shapes) > 1:
        sizes = " and ".join(f"{views} of {height}×{width}" for views, _, height, width in shapes[:2])
        raise InputError(f"splatter images of one batch are {sizes}", "make those of all objects alike")
    cameras = [one.cameras for one in stored if one.cameras is not None]
    return SplatterImages(
        _stacked([one.channels for one in stored], torch.float16),
        _stacked([each.c2w for each in cameras], torch.float64),
        _stacked([each.intrinsics for each in cameras], torch.float64),
    )


def _stacked(arrays: Sequence[np.ndarray], dtype: torch.dtype) -> Tensor:
    room = _room((len(arrays), *arrays[0].shape), dtype)
    np.stack(arrays, out=room.numpy())
    return room


def _room(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """A tensor to be written to."""
    if get_worker_info() is not None and 0 not in shape:
        # As `default_collate` does.
        storage = torch.UntypedStorage._new_shared(math.prod(shape) * dtype.itemsize)
        return torch.empty(0, dtype=dtype).set_(storage).view(*shape)
    # NumPy asks for huge pages, which are quicker to come by than small ones.
    return torch.from_numpy(np.empty(shape, dtype=np.dtype(str(dtype).removeprefix("torch."))))
