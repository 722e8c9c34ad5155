"""Pictures of any program as arrays: decoded, checked, composited on white, and brought to the truth's size if asked.

What cannot be scored honestly is refused with its reason: a value that is not finite or out of range, an unknown mode, another
size. Nothing is clipped, stretched or guessed.
"""

import io
import warnings
import zipfile
from typing import Literal

import numpy as np
from jaxtyping import Float
from PIL import Image, UnidentifiedImageError

from blender_render.rendered_object import on_white
from evaluation.folders.layout import ARRAYS
from stage.failures import FailureClass, ObjectFailedError

Filter = Literal["bilinear", "bicubic", "lanczos", "box"]
FILTERS: dict[Filter, Image.Resampling] = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
    "box": Image.Resampling.BOX,
}
_FORMATS = ("PNG", "WEBP", "JPEG")
_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA")
# A PNG tells its bits a channel behind signature, length and name of its first chunk, width and height.
_PNG, _PNG_BITS = b"\x89PNG\r\n\x1a\n", 24
_CHANNELS = (3, 4)
# 8,000 pixels square, four channels of float64.
_MOST_BYTES = 2 * 2**30


def decode_picture(name: str, data: bytes) -> Float[np.ndarray, "h w 3"]:
    """A picture file, RGB on white in [0, 1].

    Args:
        name: of the file, whose suffix tells the format; for messages.
        data: its bytes.

    Raises:
        ObjectFailedError: when it is no such picture, or has values that are no colours.
    """
    if name.lower().endswith(ARRAYS):
        return _array_on_white(name, _array(name, data))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data), formats=_FORMATS)
            # Of sixteen bits Pillow keeps eight of colours without a word, and calls grey "I;16".
            if image.mode not in _MODES or (data.startswith(_PNG) and data[_PNG_BITS] > 8):
                raise ObjectFailedError(
                    FailureClass.PARSE, f"{name} is no RGB or grey of 8 bits a channel: save it so"
                )
            if image.has_transparency_data:
                return on_white(np.asarray(image.convert("RGBA")))
            return np.asarray(image.convert("RGB"), dtype=np.float32) / np.float32(255.0)
    except UnidentifiedImageError:
        raise ObjectFailedError(FailureClass.PARSE, f"{name} is no picture") from None
    except (OSError, ValueError, SyntaxError, Warning, Image.DecompressionBombError) as error:
        raise ObjectFailedError(FailureClass.PARSE, f"{name} is damaged: {error}") from None


def _array(name: str, data: bytes) -> np.ndarray:
    """The array of a `.npy`, or the only one of a `.npz`."""
    try:
        if zipfile.is_zipfile(io.BytesIO(data)):
            _refuse_bomb(data)
        loaded = np.load(io.BytesIO(data), allow_pickle=False)
        arrays = [loaded] if isinstance(loaded, np.ndarray) else [loaded[key] for key in loaded.files]
    except Exception as error:  # noqa: BLE001 - a damaged archive or header raises anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ObjectFailedError(FailureClass.PARSE, f"{name} is no array: {reason}") from None
    if len(arrays) != 1:
        raise ObjectFailedError(FailureClass.PARSE, f"{name} holds {len(arrays)} arrays: keep the picture alone")
    return arrays[0]


def _refuse_bomb(data: bytes) -> None:
    """Refuse an archive that is larger inside than any picture; what it says is what NumPy's reader lets come out of it."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        size = sum(entry.file_size for entry in archive.infolist())
    if size > _MOST_BYTES:
        raise ValueError(f"it unpacks to {size:,} bytes, over the limit of {_MOST_BYTES:,}")


def _array_on_white(name: str, values: np.ndarray) -> Float[np.ndarray, "h w 3"]:
    if values.ndim != 3 or values.shape[-1] not in _CHANNELS:
        raise ObjectFailedError(
            FailureClass.PARSE, f"{name} has shape {values.shape}, and (height, width, 3 or 4) is expected"
        )
    if values.dtype == np.uint8:
        values = values.astype(np.float32) / np.float32(255.0)
    if not np.issubdtype(values.dtype, np.floating):
        raise ObjectFailedError(FailureClass.PARSE, f"{name} is of {values.dtype}: save floats in [0, 1] or uint8")
    _check_range(name, values)
    colours, alpha = values[..., :3].astype(np.float32), values[..., 3:].astype(np.float32)
    return colours * alpha + (1.0 - alpha) if alpha.shape[-1] else colours


def _check_range(name: str, values: np.ndarray) -> None:
    """Refuse what is no colour; a picture in [−1, 1] would get plausible figures that are wrong."""
    wrong = int((~np.isfinite(values)).sum())
    if wrong:
        raise ObjectFailedError(FailureClass.DEGENERATE, f"{name} has {wrong} values that are not finite")
    low, high = float(values.min(initial=0.0)), float(values.max(initial=0.0))
    if low < 0.0 or high > 1.0:
        raise ObjectFailedError(
            FailureClass.DEGENERATE, f"{name} has values from {low:.8g} to {high:.8g}: bring them to [0, 1]"
        )


def fitted(
    picture: Float[np.ndarray, "h w 3"], height: int, width: int, name: str, resize: Filter | None
) -> Float[np.ndarray, "height width 3"]:
    """The picture in the truth's size.

    Args:
        picture: RGB on white in [0, 1].
        height: of the truth, pixels.
        width: likewise.
        name: of the file, for messages.
        resize: Pillow's filter, which averages when it makes smaller; none refuses another size.

    Raises:
        ObjectFailedError: when the size is another and may not be changed, or the sides have another ratio.
    """
    rows, columns = picture.shape[:2]
    if (rows, columns) == (height, width):
        return picture
    sizes = f"{name} has {columns}×{rows} pixels, its truth {width}×{height}"
    if resize is None:
        raise ObjectFailedError(FailureClass.MISMATCH, f"{sizes}: make them equal, or choose a filter with --resize")
    if rows * width != columns * height:
        raise ObjectFailedError(FailureClass.MISMATCH, f"{sizes}: --resize would distort it")
    channels = [Image.fromarray(np.ascontiguousarray(channel)) for channel in np.moveaxis(picture, -1, 0)]
    resized = [np.asarray(channel.resize((width, height), FILTERS[resize])) for channel in channels]
    # Filters with negative lobes overshoot at edges.
    return np.stack(resized, axis=-1).clip(0.0, 1.0)
