"""Pictures of other programs: what they show, and what is refused."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from evaluation.folders.layout import ObjectFiles
from evaluation.folders.pictures import decode_picture, fitted
from evaluation.folders.views import Side, predicted_pictures, strip_views
from stage.failures import FailureClass, ObjectFailedError


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def array(values: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, values)
    return stream.getvalue()


def of_sixteen_bits(channels: int) -> bytes:
    return bytes(cv2.imencode(".png", np.full((4, 4, channels), 300, np.uint16))[1])


def damaged_archive() -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, picture=np.random.default_rng(0).random((16, 16, 3)))
    data = bytearray(stream.getvalue())
    data[200:260] = bytes(60)
    return bytes(data)


def refused(name: str, data: bytes) -> ObjectFailedError:
    with pytest.raises(ObjectFailedError) as caught:
        decode_picture(name, data)
    assert name in str(caught.value)
    return caught.value


def test_half_transparent_red_is_pink_on_white():
    image = Image.new("RGBA", (2, 1), (255, 0, 0, 0))
    image.putpixel((1, 0), (255, 0, 0, 51))
    np.testing.assert_allclose(decode_picture("a.png", encoded(image)), [[[1, 1, 1], [1, 0.8, 0.8]]], atol=1e-6)


def test_grey_palettes_and_transparent_palettes_are_their_colours():
    grey = encoded(Image.new("L", (1, 1), 51))
    np.testing.assert_allclose(decode_picture("a.png", grey), np.full((1, 1, 3), 0.2), atol=1e-6)
    palette = Image.new("P", (1, 1), 0)
    palette.putpalette([0, 255, 0])
    np.testing.assert_allclose(decode_picture("a.png", encoded(palette)), [[[0, 1, 0]]])
    np.testing.assert_allclose(decode_picture("a.png", encoded(palette, transparency=0)), [[[1, 1, 1]]])


@pytest.mark.parametrize("kind", ["png", "webp"])
def test_lossless_files_and_arrays_show_the_same(kind):
    rgb = np.random.default_rng(0).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    options = {"lossless": True} if kind == "webp" else {}
    file = decode_picture(f"a.{kind}", encoded(Image.fromarray(rgb), kind.upper(), **options))
    np.testing.assert_array_equal(file, decode_picture("a.npy", array(rgb)))
    np.testing.assert_array_equal(file, decode_picture("a.npy", array(rgb.astype(np.float32) / np.float32(255))))
    stream = io.BytesIO()
    np.savez_compressed(stream, anything=rgb)
    np.testing.assert_array_equal(file, decode_picture("a.npz", stream.getvalue()))


def test_an_arrays_alpha_is_composited_as_a_pictures():
    np.testing.assert_allclose(decode_picture("a.npy", array(np.array([[[1.0, 0.0, 0.0, 0.2]]]))), [[[1, 0.8, 0.8]]])


@pytest.mark.parametrize(("value", "count"), [(np.nan, 3), (np.inf, 3)])
def test_what_is_not_finite_is_refused(value, count):
    values = np.full((4, 4, 3), 0.5)
    values[1, 2] = value
    error = refused("view.npy", array(values))
    assert error.failure is FailureClass.DEGENERATE
    assert f"{count} values that are not finite" in str(error)


@pytest.mark.parametrize("values", [np.linspace(-1, 1, 48), np.linspace(0, 255, 48)])
def test_another_range_is_refused_and_not_clipped(values):
    assert "bring them to [0, 1]" in str(refused("view.npy", array(values.reshape(4, 4, 3))))


def test_a_range_that_is_hardly_another_is_told_in_enough_digits():
    barely = np.full((4, 4, 3), np.nextafter(np.float32(1), np.float32(2)))
    assert "from 0 to 1.0000001:" in str(refused("view.npy", array(barely)))


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.png", b"no picture"),
        ("a.png", encoded(Image.new("RGB", (64, 64), (1, 2, 3)))[:60]),
        ("a.png", encoded(Image.fromarray(np.zeros((4, 4), np.uint16)))),
        ("a.png", of_sixteen_bits(3)),
        ("a.png", of_sixteen_bits(4)),
        ("a.npy", b"\x93NUMPY"),
        ("a.npy", array(np.array([{"a": 1}], dtype=object))),
        ("a.npy", array(np.zeros((3, 8, 8)))),
        ("a.npy", array(np.zeros((4, 4, 3), np.int64))),
        ("a.npz", b""),
        ("a.npz", b"PK\x03\x04 and no more"),
        ("a.npz", damaged_archive()),
    ],
)
def test_what_is_no_picture_of_eight_bits_is_refused(name, data):
    assert refused(name, data).failure is FailureClass.PARSE


@pytest.mark.parametrize("kind", ["EPS", "TIFF", "GIF"])
def test_only_the_formats_that_are_asked_for_are_opened(kind):
    """PostScript, for one, Pillow has Ghostscript run."""
    assert "a.png is no picture" in str(refused("a.png", encoded(Image.new("RGB", (8, 8)), kind)))


def test_another_size_is_refused_unless_a_filter_is_named_and_never_distorted():
    half = np.full((4, 4, 3), 0.25, np.float32)
    with pytest.raises(ObjectFailedError, match=r"4×4 pixels, its truth 8×8: .*--resize"):
        fitted(half, 8, 8, "a.png", None)
    np.testing.assert_allclose(fitted(half, 8, 8, "a.png", "bicubic"), np.full((8, 8, 3), 0.25), atol=1e-6)
    with pytest.raises(ObjectFailedError, match="distort"):
        fitted(half, 8, 6, "a.png", "bicubic")


def test_a_box_makes_smaller_by_means_and_a_filter_that_overshoots_stays_in_range():
    edge = np.zeros((4, 4, 3), np.float32)
    edge[:, 1:] = 1.0
    np.testing.assert_allclose(fitted(edge, 2, 2, "a.png", "box")[..., 0], [[0.5, 1], [0.5, 1]])
    sharp = fitted(edge, 16, 16, "a.png", "lanczos")
    assert (sharp.min(), sharp.max()) == (0.0, 1.0)


def side(tmp_path, **pictures: np.ndarray) -> Side:
    files = {view: tmp_path / f"{view}.png" for view in pictures}
    return Side(ObjectFiles(files), {view: encoded(Image.fromarray(rgb)) for view, rgb in pictures.items()})


def test_a_strip_is_cut_into_the_truths_views_from_left_to_right(tmp_path):
    views = [np.full((4, 4, 3), 60 * number, np.uint8) for number in range(4)]
    cut = strip_views(
        side(tmp_path, **{"0": np.concatenate(views[::-1], 1), "1": np.concatenate(views, 1)}), list("0123"), 1
    )
    assert [round(float(cut[view].mean() * 255)) for view in "0123"] == [0, 60, 120, 180]


def test_two_wide_views_are_no_strips_of_two_square_ones(tmp_path):
    wide = np.random.default_rng(0).integers(0, 256, (4, 8, 3), dtype=np.uint8)
    truth = {view: np.full((4, 8, 3), 0.5, np.float32) for view in "01"}
    found = predicted_pictures(side(tmp_path, **{"0": wide, "1": wide}), ["0", "1"], truth, None, 0)
    np.testing.assert_array_equal(found, np.stack([wide, wide]).astype(np.float32) / np.float32(255))


def test_single_views_are_no_strips_and_another_sample_is_missed(tmp_path):
    square, strip = np.zeros((4, 4, 3), np.uint8), np.zeros((4, 16, 3), np.uint8)
    assert strip_views(side(tmp_path, **{"0": square, "1": square}), list("0123"), 0) is None
    assert strip_views(side(tmp_path, **{"0": square}), ["0"], 0) is None
    with pytest.raises(ObjectFailedError, match="no strip 7: there are 0; choose one with --sample"):
        strip_views(side(tmp_path, **{"0": strip}), list("0123"), 7)
