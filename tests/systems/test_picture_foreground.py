"""How the object of a picture is found: by alpha, a mask, or a real network of rembg on weights made here. Nothing is fetched."""

import socket
from pathlib import Path

import numpy as np
import pytest
from onnx_model_support import write_darkness_network
from PIL import Image, ImageDraw

from stage.errors import InputError
from systems.pictures import segmentation
from systems.pictures.foreground import cut_out, has_cut_out


@pytest.fixture(autouse=True)
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where weights are looked for; empty, and no network to fetch any from."""
    folder = tmp_path / "weights"
    monkeypatch.setenv("U2NET_HOME", str(folder))

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("something was to be fetched")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    if segmentation.importlib.util.find_spec("pooch"):
        monkeypatch.setattr("pooch.retrieve", refuse)
    return folder


@pytest.fixture
def installed(weights: Path) -> Path:
    """rembg, and a network of its u2net's shape that finds what is dark."""
    pytest.importorskip("rembg", reason="the extra 'foreground' is not installed")
    write_darkness_network(weights / "u2net.onnx", 320)
    return weights


def photograph(size: tuple[int, int] = (120, 80)) -> tuple[Image.Image, np.ndarray]:
    """A dark ellipse before a light wall, and where it is."""
    mask = Image.new("L", size)
    ImageDraw.Draw(mask).ellipse((30, 20, 90, 60), fill=255)
    picture = Image.new("RGBA", size, (225, 220, 210, 255))
    picture.paste((60, 40, 90, 255), mask=mask)
    return picture, np.asarray(mask) > 127


def overlap(alpha: np.ndarray, true: np.ndarray) -> float:
    found = alpha > 127
    return float((found & true).sum() / (found | true).sum())


def test_a_real_alpha_is_taken_as_it_is():
    picture, mask = photograph()
    picture.putalpha(Image.fromarray((mask * 254).astype(np.uint8)))
    cut = cut_out(picture)
    assert cut.found
    assert cut.how == "the picture's alpha"
    np.testing.assert_array_equal(np.asarray(cut.picture), np.asarray(picture))


@pytest.mark.parametrize("alpha", [255, 250, 0, 100])
def test_an_alpha_that_is_alike_everywhere_cuts_nothing_out(alpha: int):
    picture = Image.new("RGBA", (20, 20), (9, 9, 9, alpha))
    assert not has_cut_out(picture)
    with pytest.raises(InputError, match=f"alpha is {alpha} to {alpha} of 255 and cuts nothing out; give one with"):
        cut_out(picture, "alpha")


def test_a_mask_by_its_brightness_or_its_alpha(tmp_path: Path):
    picture, mask = photograph()
    grey = Image.fromarray((mask * 255).astype(np.uint8))
    grey.save(tmp_path / "grey.png")
    black = Image.new("RGBA", picture.size, (0, 0, 0, 255))
    black.putalpha(grey)
    black.save(tmp_path / "black.png")
    (tmp_path / "bare").write_bytes((tmp_path / "grey.png").read_bytes())
    for name in ("grey.png", "black.png", "bare"):
        cut = cut_out(picture, str(tmp_path / name))
        assert cut.how == f"the mask {name}"
        np.testing.assert_array_equal(np.asarray(cut.picture)[..., 3] > 127, mask)
        np.testing.assert_array_equal(np.asarray(cut.picture)[..., :3], np.asarray(picture)[..., :3])


def test_masks_that_do_not_fit(tmp_path: Path):
    picture, _ = photograph()
    Image.new("L", (60, 40), 255).save(tmp_path / "small.png")
    Image.new("L", picture.size, 255).save(tmp_path / "white.png")
    with pytest.raises(InputError, match="60 × 40 pixels and the picture 120 × 80"):
        cut_out(picture, str(tmp_path / "small.png"))
    with pytest.raises(InputError, match="is the same everywhere"):
        cut_out(picture, str(tmp_path / "white.png"))
    with pytest.raises(InputError, match="no picture"):
        cut_out(picture, str(tmp_path / "absent.png"))
    with pytest.raises(InputError, match="no way to find an object; give auto, alpha, segment, none or a mask"):
        cut_out(picture, "magic")


def test_without_weights_one_line_says_what_is_missing(weights: Path):
    picture, _ = photograph()
    for choice in ("auto", "segment"):
        with pytest.raises(InputError) as caught:
            cut_out(picture, choice)
        message = str(caught.value)
        assert "\n" not in message
        assert str(weights) in message or "not installed" in message
        assert "transparency" in message
    assert not weights.exists()


def test_without_the_package_one_line_names_the_extra(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(segmentation.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(InputError, match="rembg and onnxruntime of the extra 'foreground' not installed"):
        cut_out(photograph()[0], "segment")


def test_the_whole_picture_where_that_is_asked_or_no_object_is_needed():
    picture, _ = photograph()
    for cut in (cut_out(picture, "none"), cut_out(picture, "auto", needed=False)):
        assert not cut.found
        np.testing.assert_array_equal(np.asarray(cut.picture), np.asarray(picture))


def test_weights_are_looked_for_where_rembg_does(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    base = pytest.importorskip("rembg.sessions.base").BaseSession
    settings = [
        {"U2NET_HOME": str(tmp_path / "own")},
        {"XDG_DATA_HOME": str(tmp_path / "data")},
        {"HOME": str(tmp_path / "home")},
    ]
    for values in settings:
        for name in ("U2NET_HOME", "XDG_DATA_HOME"):
            monkeypatch.delenv(name, raising=False)
        for name, value in values.items():
            monkeypatch.setenv(name, value)
        assert str(segmentation.weights_folder()) == base.u2net_home()


@pytest.mark.parametrize("choice", ["auto", "segment"])
def test_a_network_finds_the_object(installed: Path, choice: str):
    # Its checksum is not that of the published weights: rembg's session of their name would fetch those.
    picture, true = photograph()
    cut = cut_out(picture, choice)
    assert cut.how == "segmented by u2net"
    assert overlap(np.asarray(cut.picture)[..., 3], true) > 0.95
    np.testing.assert_array_equal(np.asarray(cut.picture)[..., :3], np.asarray(picture)[..., :3])


def test_better_weights_come_first(installed: Path):
    write_darkness_network(installed / "isnet-general-use.onnx", 1024)
    picture, true = photograph()
    cut = cut_out(picture)
    assert cut.how == "segmented by isnet-general-use"
    assert overlap(np.asarray(cut.picture)[..., 3], true) > 0.95


def test_alpha_goes_before_a_network(installed: Path):
    picture, mask = photograph()
    picture.putalpha(Image.fromarray((~mask * 255).astype(np.uint8)))
    assert cut_out(picture).how == "the picture's alpha"


def test_a_network_that_sees_nothing_or_cannot_be_read(installed: Path):
    with pytest.raises(InputError, match="finds nothing in the picture"):
        cut_out(Image.new("RGBA", (40, 40), (120, 120, 120, 255)))
    (installed / "u2net.onnx").write_bytes(b"<html>404</html>")
    with pytest.raises(InputError, match=r"u2net\.onnx cannot be used") as caught:
        cut_out(photograph()[0])
    assert "\n" not in str(caught.value)
