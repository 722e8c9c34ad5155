"""Views as bytes: how a picture with alpha is stored in a shard, and read back whichever way it was.

Members of an object are named by the view's number and a suffix: `000.png` or `000.webp` (sRGB, straight alpha, lossless), or
`000.jpg` and `000.alpha.png`, colour composited on white and coverage. The colour is on white because that is what is trained on:
a reader that wants no alpha decodes one member and has it, and what the codec loses shows the same on every background.
"""

import io
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Literal

import numpy as np
import pyarrow as pa
from jaxtyping import Float, UInt8
from PIL import Image, UnidentifiedImageError

Encoding = Literal["as_rendered", "png", "webp", "jpeg_alpha"]
Room = Callable[[tuple[int, int, int]], UInt8[np.ndarray, "h w 4"] | None]
"""Gives a picture of height, width and four channels contiguous memory to be decoded into; None where there is none."""
# Of each encoding, the member that every view has.
_COLOUR = re.compile(r"(\d{3})\.(png|webp|jpg)")
_FORMATS = {"png": "PNG", "webp": "WEBP", "jpg": "JPEG"}


def encode_view(rgba: UInt8[np.ndarray, "h w 4"], encoding: Encoding, quality: int = 95) -> dict[str, bytes]:
    """The members of one view by their suffix; the same picture gives the same bytes.

    Args:
        rgba: sRGB with straight alpha.
        encoding: `png`, `webp` or `jpeg_alpha`.
        quality: of the JPEG, 1 to 100.
    """
    if encoding == "webp":
        # Without `exact` colours that alpha hides would change, and a lossless codec would not be one.
        return {"webp": _bytes(Image.fromarray(rgba), "WEBP", lossless=True, exact=True, method=4)}
    if encoding == "jpeg_alpha":
        colour = Image.fromarray(_rounded(_on_white(rgba)))
        jpeg = _bytes(colour, "JPEG", quality=quality, subsampling=0, optimize=True)
        return {"jpg": jpeg, "alpha.png": _bytes(Image.fromarray(rgba[..., 3]), "PNG", optimize=True)}
    return {"png": _bytes(Image.fromarray(rgba), "PNG", optimize=True)}


def no_room(_: tuple[int, int, int]) -> None:
    """Leaves pictures in memory of their own."""


def decode_view(
    members: Mapping[str, bytes | memoryview], number: int, room: Room = no_room
) -> UInt8[np.ndarray, "h w 4"]:
    """One view of an object, sRGB with straight alpha; of a JPEG the colour that gives it on white again.

    Args:
        members: bytes by name without the key, as `000.png`; what belongs to no view is left alone.
        number: of the view.
        room: asked where the picture is to lie if it can be decoded there without a copy; otherwise it is in memory of its own,
            not to be written to.

    Raises:
        KeyError: when there is no such view.
        OSError, ValueError: when it cannot be decoded; the room then holds anything.
    """
    names = view_members(members, number)
    if len(names) == 1:
        return _array(members, names[0], "RGBA", room)
    colour, alpha = names
    return _off_white(_array(members, colour, "RGB"), _array(members, alpha, "L"))


def view_members(names: Collection[str], number: int) -> list[str]:
    """The names of what `decode_view` reads of one view.

    Args:
        names: of all members, without the key.
        number: of the view.
    """
    for suffix in ("png", "webp"):
        if (name := f"{number:03d}.{suffix}") in names:
            return [name]
    return [f"{number:03d}.jpg", f"{number:03d}.alpha.png"]


def view_numbers(names: Iterable[str]) -> list[int]:
    """The numbers of the views among members' names without the key, in order."""
    matches = map(_COLOUR.fullmatch, names)
    return sorted(int(match[1]) for match in matches if match)


def resized(rgba: UInt8[np.ndarray, "h w 4"], size: int) -> UInt8[np.ndarray, "size size 4"]:
    """A square picture made smaller by averaging areas, colours weighted by alpha: its composite is the average of composites.

    Raises:
        ValueError: when it is not square, or smaller than `size`.
    """
    height, width = rgba.shape[:2]
    if height != width or size > width:
        raise ValueError(f"{width}×{height} pixels cannot be made {size}×{size}")
    if size == width:
        return rgba
    # Plane by plane, which takes half the time of pixel by pixel.
    planes = np.ascontiguousarray(np.moveaxis(rgba, -1, 0)).astype(np.float32)
    alpha = planes[3] / 255
    planes[:3] *= alpha
    planes[3] = alpha * 255
    small = np.stack([_averaged(plane, size) for plane in planes], axis=-1)
    coverage = small[..., 3:] / 255
    colours = np.divide(small[..., :3], coverage, out=np.zeros_like(small[..., :3]), where=coverage > 0)
    return _rounded(np.concatenate([colours, small[..., 3:]], axis=-1) / 255)


def _averaged(plane: Float[np.ndarray, "h w"], size: int) -> Float[np.ndarray, "size size"]:
    return np.asarray(Image.fromarray(plane, mode="F").resize((size, size), Image.Resampling.BOX))


def _on_white(rgba: UInt8[np.ndarray, "h w 4"]) -> Float[np.ndarray, "h w 3"]:
    values = rgba.astype(np.float32) / 255
    return values[..., :3] * values[..., 3:] + 1 - values[..., 3:]


def _off_white(colour: UInt8[np.ndarray, "h w 3"], alpha: UInt8[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w 4"]:
    """Straight colour of a composite on white; where nothing is, black."""
    rgba = np.concatenate([colour, alpha[..., None]], axis=-1)
    rgba[alpha == 0, :3] = 0
    # Few pixels are of an outline, and all others need no arithmetic.
    edge = (alpha > 0) & (alpha < 255)
    coverage = alpha[edge, None].astype(np.float32) / 255
    rgba[edge, :3] = _rounded((colour[edge].astype(np.float32) / 255 - (1 - coverage)) / coverage)
    return rgba


def _rounded(values: Float[np.ndarray, "*n c"]) -> UInt8[np.ndarray, "*n c"]:
    return np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)


def _array(
    members: Mapping[str, bytes | memoryview], name: str, mode: str, room: Room = no_room
) -> UInt8[np.ndarray, "h w *c"]:
    """A picture's pixels, not to be written to where they are not in the room."""
    expected = _FORMATS[name.rpartition(".")[2]]
    try:
        with Image.open(io.BytesIO(members[name]), formats=[expected]) as image:
            if image.mode != mode:
                return _pixels(image.convert(mode))
            given = room((image.height, image.width, 4)) if mode == "RGBA" else None
            return _pixels(image) if given is None else _pixels_in(given, image)
    except UnidentifiedImageError:
        # Pillow's own message has an address in memory, and would differ from run to run.
        raise ValueError(f"{name} is no {expected}") from None


def _pixels_in(given: UInt8[np.ndarray, "h w 4"], image: Image.Image) -> UInt8[np.ndarray, "h w 4"]:
    """The pixels in the given memory, which is the picture's own while it is decoded."""
    own = Image.frombuffer("RGBA", image.size, given, "raw", "RGBA", 0, 1).im
    image.im = own
    image.load()
    return given if image.im is own else _pixels(image)


def _pixels(image: Image.Image) -> UInt8[np.ndarray, "h w *c"]:
    """The pixels where Pillow decodes them to; a copy of other modes than RGBA, and where they are in more than one block."""
    image.load()
    if image.mode != "RGBA":
        return np.asarray(image)
    try:
        return pa.array(image).flatten().to_numpy().reshape(image.height, image.width, 4)
    except ValueError:
        return np.asarray(image)


def _bytes(image: Image.Image, file_type: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format=file_type, **options)
    return stream.getvalue()
