"""Pictures that anybody may have made: all kinds become the same RGBA, and what cannot is one line."""

import io
import struct
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from stage.errors import InputError
from systems.pictures.opening import PictureLimits, decode_picture, open_picture

RED, GREEN = (200, 40, 40), (30, 160, 60)


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def halves(mode: str = "RGB", size: tuple[int, int] = (32, 16)) -> Image.Image:
    """Red on the left, green on the right."""
    image = Image.new("RGB", size, RED)
    image.paste(GREEN, (size[0] // 2, 0, *size))
    return image.convert(mode)


def refused(data: bytes, limits: PictureLimits | None = None) -> str:
    with pytest.raises(InputError) as caught:
        decode_picture(data, "photo.png", limits or PictureLimits())
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith("photo.png ")
    assert "; " in message
    return message


@pytest.mark.parametrize(
    ("data", "tolerance"),
    [
        (encoded(halves()), 0),
        (encoded(halves("RGBA")), 0),
        (encoded(halves().quantize(2)), 1),
        (encoded(halves(), "WEBP", lossless=True), 0),
        (encoded(halves(), "BMP"), 0),
        (encoded(halves(), "TIFF", compression="tiff_lzw"), 0),
        (encoded(halves(), "JPEG", quality=95, subsampling=0), 12),
        (encoded(halves("CMYK"), "JPEG", quality=95), 12),
    ],
    ids=["png", "rgba", "palette", "webp", "bmp", "tiff", "jpeg", "cmyk"],
)
def test_all_kinds_are_the_same_rgba(data: bytes, tolerance: int):
    picture = decode_picture(data, "photo")
    assert picture.mode == "RGBA"
    pixels = np.asarray(picture).astype(int)
    assert pixels.shape == (16, 32, 4)
    assert np.abs(pixels[8, 4] - [*RED, 255]).max() <= tolerance
    assert np.abs(pixels[8, 28] - [*GREEN, 255]).max() <= tolerance


def test_a_palettes_transparent_colour_is_transparent():
    image = halves().quantize(2)
    data = encoded(image, transparency=image.getpixel((0, 0)))
    alpha = np.asarray(decode_picture(data, "photo"))[..., 3]
    assert set(alpha[:, :16].ravel()) == {0}
    assert set(alpha[:, 16:].ravel()) == {255}


def test_sixteen_bits_are_scaled_and_not_clipped():
    grey = np.linspace(0, 65535, 16 * 16).reshape(16, 16).astype(np.uint16)
    pixels = np.asarray(decode_picture(encoded(Image.fromarray(grey)), "photo"))
    assert np.abs(pixels[..., 0] - grey / 65535 * 255).max() <= 0.5 + 1e-6


def test_exif_turns_a_picture_upright():
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise by a quarter
    picture = decode_picture(encoded(halves(), "JPEG", exif=exif, quality=95, subsampling=0), "photo")
    assert picture.size == (16, 32)
    pixels = np.asarray(picture).astype(int)
    assert np.abs(pixels[4, 8, :3] - RED).max() <= 12
    assert np.abs(pixels[28, 8, :3] - GREEN).max() <= 12


def test_a_colour_profile_is_applied_and_a_damaged_one_left_out():
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    same = np.asarray(decode_picture(encoded(halves("RGBA"), icc_profile=lab), "photo")).astype(int)
    assert np.abs(same[8, 4] - [*RED, 255]).max() <= 1
    damaged = np.asarray(decode_picture(encoded(halves(), icc_profile=b"no profile"), "photo"))
    np.testing.assert_array_equal(damaged[8, 4], [*RED, 255])


def test_what_is_no_picture_says_what_it_looks_like():
    assert "0 bytes" in refused(b"")
    assert "SVG" in refused(b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>')
    assert "a web page" in refused(b"<!DOCTYPE html><title>404</title>")
    assert "GIF" in refused(encoded(halves(), "GIF"))
    assert "text" in refused(b"not a picture at all, " * 9)
    assert "unknown bytes" in refused(bytes(range(256)))


def test_a_bomb_is_refused_before_it_is_decoded():
    limits = PictureLimits(most_pixels=1000)
    assert "40 × 40 pixels, more than 1,000" in refused(encoded(Image.new("L", (40, 40))), limits)
    # A header that claims 60,000 × 60,000 pixels, 14 GB of RGBA, over a few bytes of data.
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 10)), (b"IEND", b"")]
    body = b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )
    assert "pixels" in refused(b"\x89PNG\r\n\x1a\n" + body)


def test_too_many_bytes_animations_and_specks_are_refused():
    assert "more than 100 bytes" in refused(b"x" * 101, PictureLimits(most_bytes=100))
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue", "green")]
    assert "more than one picture" in refused(encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:]))
    assert "16 × 2 pixels" in refused(encoded(Image.new("RGB", (16, 2))))


def test_the_first_of_a_cameras_pictures_is_taken():
    """Cameras put previews into a JPEG behind the picture, which Pillow calls MPO."""
    picture = decode_picture(encoded(halves(), "MPO", save_all=True, append_images=[halves(size=(16, 8))]), "photo")
    assert picture.size == (32, 16)


def test_pages_are_refused_without_being_counted():
    """A TIFF of 20,000 pages of no data: to walk to the last takes seconds, of 32 MiB of them a minute."""
    tags = [(256, 16), (257, 16), (258, 8), (259, 1), (262, 1), (273, 0), (277, 1), (278, 16), (279, 256)]
    page = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    pages = [page + struct.pack("<I", 8 + number * (len(page) + 4)) for number in range(1, 20_001)]
    started = time.process_time()
    assert "more than one picture" in refused(b"II*\0" + struct.pack("<I", 8) + b"".join(pages) + page + bytes(4))
    assert time.process_time() - started < 1.0


def test_a_picture_so_long_that_its_square_fills_the_memory_is_refused():
    """4 kB of a file, and 14 GB of a square around it."""
    assert "60000 × 8 pixels, a side of more than 10,000" in refused(encoded(Image.new("RGB", (60_000, 8))))


def test_files_that_are_not_there_or_endless(tmp_path: Path):
    with pytest.raises(InputError, match="no picture"):
        open_picture(tmp_path / "absent.png")
    with pytest.raises(InputError, match="cannot be read"):
        open_picture(tmp_path)
    with pytest.raises(InputError, match="more than 1,000 bytes"):
        open_picture(Path("/dev/zero"), PictureLimits(most_bytes=1000))
    path = tmp_path / "photo.png"
    path.write_bytes(encoded(halves()))
    assert open_picture(path).size == (32, 16)


@settings(max_examples=150, deadline=None)
@given(
    kind=st.sampled_from(["PNG", "JPEG", "WEBP", "TIFF", "BMP"]),
    places=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=6),
    kept=st.floats(0, 1),
)
def test_a_damaged_file_opens_or_is_one_line(kind: str, places: list[tuple[float, int]], kept: float):
    data = bytearray(encoded(halves(), kind))
    for place, value in places:
        data[int(place * (len(data) - 1))] = value
    data = data[: int(kept * len(data))]
    try:
        said = decode_picture(bytes(data), "photo").mode
    except InputError as error:
        said = str(error)
    assert said == "RGBA" or (said.startswith("photo ") and "\n" not in said)
