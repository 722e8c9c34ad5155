"""Views of one object: decoded, or read and still to be decoded."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import repeat

import numpy as np
from jaxtyping import Float, UInt8

from blender_render.view_codecs import Room, no_room
from geometry.scene_scales import SCALES, ScaleName
from geometry.splatter_tensor import StoredSplatter
from stage.errors import InputError


@dataclass(frozen=True)
class ObjectViews:
    """Views of one object: sRGB pictures with straight alpha, and c2w cameras in OpenGL axes."""

    uid: str
    rgba: UInt8[np.ndarray, "v h w 4"]
    c2w: Float[np.ndarray, "v 4 4"]
    intrinsics: Float[np.ndarray, "v 4"]
    """fx, fy, cx, cy of each view in pixels of its picture."""
    scales: Float[np.ndarray, "v 3"] | None = None
    """As `systems.trainable.Views` has them; None where nobody knows any."""
    splatter: StoredSplatter | None = None
    """Where a reader is asked for it."""


@dataclass(frozen=True)
class ReadViews:
    """Views of one object that are read and checked; each picture is decoded when it is asked for.

    A batch reads many objects and then decodes them: between two pictures reading takes twice as long, for what it needs is no
    longer in the processor's cache. And a picture goes to its place while it is in there.
    """

    uid: str
    c2w: Float[np.ndarray, "v 4 4"]
    intrinsics: Float[np.ndarray, "v 4"]
    """fx, fy, cx, cy of each view in pixels of its picture."""
    picture: Callable[[int, Room], UInt8[np.ndarray, "h w 4"]]
    """The picture of one of these views, by its place among them: in the room where that can be, otherwise not to be written to;
    raises InputError."""
    scales: Float[np.ndarray, "v 3"] | None = None
    """As `systems.trainable.Views` has them; None where nobody knows any."""
    splatter: StoredSplatter | None = None
    """Where a reader is asked for it."""

    def require(self, scale: ScaleName) -> None:
        """Refuse views of which a scale is not known.

        Raises:
            InputError: when one of them is none such.
        """
        if self.scales is None or not np.isfinite(self.scales[:, SCALES.index(scale)]).all():
            raise InputError(
                f"{self.uid}: a view has no {scale}", "give its shards the depth of all views, or leave it out"
            )

    def pictures(self, rooms: Iterable[Room] = repeat(no_room)) -> Iterator[UInt8[np.ndarray, "h w 4"]]:
        """All pictures in order.

        Args:
            rooms: where each is to lie if it can.

        Raises:
            InputError: when one cannot be decoded, or differs from the first in size.
        """
        shape = None
        for place, room in zip(range(len(self.c2w)), rooms, strict=False):
            picture = self.picture(place, room)
            shape = shape or picture.shape
            if picture.shape != shape:
                raise InputError(f"{self.uid}: its pictures differ in size", "render it again, or leave it out")
            yield picture

    def decoded(self) -> ObjectViews:
        """The same with all pictures; raises as `pictures` does."""
        pictures = np.stack(list(self.pictures()))
        return ObjectViews(self.uid, pictures, self.c2w, self.intrinsics, self.scales, self.splatter)
