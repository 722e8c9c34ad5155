"""Opening a picture that anybody may have made, within limits: whatever is wrong with it is one line.

picture = open_picture(Path("photo.jpg"))     # RGBA, sRGB, upright
picture = decode_picture(body, "the upload")  # the same of bytes
"""

import io
import struct
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from stage.errors import InputError

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF")
"""What is read, by Pillow's names; no others are tried: fewer decoders, fewer surprises."""
_REMEDY = "give a PNG, JPEG or WebP file"
# What Pillow's decoders raise on files that are damaged or made to harm.
_DAMAGE = (OSError, ValueError, SyntaxError, EOFError, IndexError, KeyError, TypeError, struct.error, zlib.error)
_SIXTEEN_BITS = ("I;16", "I;16L", "I;16B", "I;16N")


@dataclass(frozen=True)
class PictureLimits:
    """How large a picture may be; what is larger is refused before it is decoded."""

    most_bytes: int = 32 << 20
    """Of the file."""
    most_pixels: int = 50_000_000
    """Width times height: 200 MB once it is decoded."""
    most_side: int = 10_000
    """Of width and height, pixels: a picture is put into a square of its longer side, however narrow it is."""
    least_side: int = 8
    """Of width and height, pixels."""


LIMITS = PictureLimits()


def open_picture(path: Path, limits: PictureLimits = LIMITS) -> Image.Image:
    """The picture of a file, as `decode_picture` gives it.

    Args:
        path: of a file, or of anything that can be read: no more than `limits.most_bytes` of it is.
        limits: how large it may be.

    Raises:
        InputError: when there is no such file, or it is no picture within the limits.
    """
    try:
        with path.open("rb") as stream:
            data = stream.read(limits.most_bytes + 1)
    except FileNotFoundError:
        raise InputError(f"no picture {path}", f"{_REMEDY} that exists") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror})", _REMEDY) from None
    return decode_picture(data, str(path), limits)


def decode_picture(data: bytes, name: str, limits: PictureLimits = LIMITS) -> Image.Image:
    """A still picture, RGBA with straight alpha, 8 bits, in sRGB, turned upright as its EXIF data say.

    Grey, palettes with transparency, CMYK and 16 bits are converted; a colour profile is applied where it has one.

    Args:
        data: a PNG, JPEG, WebP, BMP or TIFF file.
        name: what messages call it.
        limits: how large it may be.

    Raises:
        InputError: when it is empty, too large, animated, damaged or of another kind.
    """
    if not data:
        raise InputError(f"{name} is empty: 0 bytes", _REMEDY)
    if len(data) > limits.most_bytes:
        raise InputError(f"{name} has more than {limits.most_bytes:,} bytes", "save it smaller")
    try:
        # Pillow's warnings are of sizes that are refused here, and of EXIF data that it then does without.
        with warnings.catch_warnings(action="ignore"), Image.open(io.BytesIO(data), formats=FORMATS) as image:
            _check(image, name, limits)
            # Decoded before anything looks at it, so that a file that is cut short is refused here.
            image.load()
            return _straight(ImageOps.exif_transpose(image), name)
    except UnidentifiedImageError:
        raise InputError(f"{name} is no picture of a known kind ({_kind(data)})", _REMEDY) from None
    except Image.DecompressionBombError:
        raise InputError(f"{name} has more than {limits.most_pixels:,} pixels", "save it smaller") from None
    except _DAMAGE as error:
        said = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{name} is a damaged picture ({said})", "save it again, as PNG, JPEG or WebP") from None


def _check(image: Image.Image, name: str, limits: PictureLimits) -> None:
    width, height = image.size
    if width * height > limits.most_pixels:
        raise InputError(f"{name} has {width} × {height} pixels, more than {limits.most_pixels:,}", "save it smaller")
    if min(width, height) < limits.least_side:
        raise InputError(
            f"{name} has {width} × {height} pixels", f"give one of {limits.least_side} pixels a side or more"
        )
    if max(width, height) > limits.most_side:
        raise InputError(
            f"{name} has {width} × {height} pixels, a side of more than {limits.most_side:,}",
            "cut it or save it smaller",
        )
    # Cameras put previews behind a JPEG's picture, which is the first. Pages are not counted: a TIFF can have a minute of them.
    if image.format != "MPO" and getattr(image, "is_animated", False):
        raise InputError(f"{name} holds more than one picture, an animation or pages", "save the one that is meant")


def _straight(image: Image.Image, name: str) -> Image.Image:
    """RGBA of a decoded picture of any mode."""
    if image.mode in _SIXTEEN_BITS:
        image = _eight_bits(image)
    elif image.mode in ("I", "F"):
        raise InputError(f"{name} has numbers of {image.mode}, of no known range", "save it with 8 or 16 bits")
    profile = image.info.get("icc_profile")
    rgba = image.convert("RGBA")
    managed = _in_srgb(image, profile) if profile else None
    if managed is not None:
        managed.putalpha(rgba.getchannel("A"))
        return managed
    return rgba


def _eight_bits(image: Image.Image) -> Image.Image:
    """Of 16-bit grey: Pillow's own conversion would clip all above 255."""
    grey = np.asarray(image).astype(np.uint32)
    return Image.fromarray(((grey * 255 + 32767) // 65535).astype(np.uint8))


def _in_srgb(image: Image.Image, profile: bytes) -> Image.Image | None:
    """RGB in sRGB of a picture with a profile; None when the profile is of no use."""
    source = image if image.mode in ("RGB", "CMYK", "L") else image.convert("RGB")
    try:
        own = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        return ImageCms.profileToProfile(source, own, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, *_DAMAGE):
        # As browsers do with a profile that is damaged or of another colour space.
        return None


def _kind(data: bytes) -> str:
    """What the beginning of a file looks like, for the message."""
    start = data[:512].lstrip().lower()
    if b"<svg" in start:
        return "an SVG drawing"
    if start.startswith((b"<!doctype html", b"<html")):
        return "a web page"
    if start.startswith((b"gif87a", b"gif89a")):
        return "a GIF"
    if b"ftyphei" in data[:32] or b"ftypavif" in data[:32]:
        return "HEIC or AVIF"
    printable = sum(32 <= byte < 127 or byte in b"\t\r\n" for byte in data[:512])
    return "text" if printable > 0.95 * len(data[:512]) else "unknown bytes"
