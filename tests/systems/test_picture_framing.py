"""Where an object stands in the square that a system is shown."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from stage.errors import InputError
from systems.cascade_zero123.pipeline import CascadePipeline
from systems.pictures.framing import OBJECT_FRAMINGS, bounding_box, frame
from systems.pictures.opening import open_picture
from systems.pictures.preparation import prepare
from systems.zero123.compositing import picture_tensor
from systems.zero123.pipeline import Zero123Pipeline
from systems.zero_1_to_g.grid.pipeline import Zero1ToGGridPipeline
from systems.zero_1_to_g.pipeline import Zero1ToGPipeline
from systems.zeronvs.pipeline import ZeroNvsPipeline

BLUE = (20, 40, 220)


def cut_out(size: tuple[int, int], box: tuple[int, int, int, int]) -> Image.Image:
    """A blue rectangle; what is transparent around it is black."""
    picture = Image.new("RGBA", size, (0, 0, 0, 0))
    picture.paste((*BLUE, 255), box)
    return picture


@settings(max_examples=40, deadline=None)
@given(
    name=st.sampled_from(sorted(OBJECT_FRAMINGS)),
    left=st.integers(0, 150),
    top=st.integers(0, 150),
    width=st.integers(20, 140),
    height=st.integers(20, 140),
)
def test_an_object_is_in_the_middle_at_the_published_size(name: str, left: int, top: int, width: int, height: int):
    framed = frame(cut_out((300, 320), (left, top, left + width, top + height)), name)
    assert framed.width == framed.height
    box = np.array(bounding_box(framed))
    assert (box[2] - box[0], box[3] - box[1]) == (width, height)
    assert max(width, height) / framed.width == pytest.approx(OBJECT_FRAMINGS[name].share, abs=0.5 / framed.width)
    assert np.abs((box[:2] + box[2:]) / 2 - framed.width / 2).max() <= 0.5


def test_zero123s_square_has_200_of_256_pixels():
    framed = frame(cut_out((640, 480), (100, 50, 500, 250)), "zero123")
    white = picture_tensor(framed, (256, 256)).permute(1, 2, 0).numpy()
    rows, columns = np.nonzero(white[..., 0] < 0)
    assert (columns.min(), columns.max()) == (28, 227)
    assert (rows.min(), rows.max()) == (78, 177)
    # Black that is transparent darkens no edge.
    assert white.min(axis=(0, 1))[0] >= BLUE[0] / 127.5 - 1 - 0.02


def test_faint_pixels_count_as_published():
    picture = cut_out((100, 100), (40, 40, 60, 60))
    picture.putpixel((10, 50), (0, 0, 0, 100))
    assert frame(picture, "zero123").width == round(20 / (200 / 256))
    assert frame(picture, "syncdreamer").width == round(50 / (200 / 256))


def test_scenes_lose_their_sides_and_whole_pictures_nothing():
    picture = Image.new("RGBA", (40, 20), (255, 0, 0, 255))
    picture.paste((*BLUE, 255), (10, 0, 30, 20))
    assert frame(picture, "centre_square").getcolors() == [(400, (*BLUE, 255))]
    whole = np.asarray(frame(picture, "none"))
    assert whole.shape == (40, 40, 4)
    assert set(whole[:10, :, 3].ravel()) | set(whole[30:, :, 3].ravel()) == {0}
    np.testing.assert_array_equal(whole[10:30], np.asarray(picture))


def test_a_pipeline_shows_all_of_a_wide_picture_and_stretches_it_not():
    wide = Image.effect_noise((40, 20), 90).convert("RGB")
    shown = Zero123Pipeline.__new__(Zero123Pipeline).framed(wide)
    white = picture_tensor(shown, (40, 40)).permute(1, 2, 0).numpy()
    np.testing.assert_allclose((white[10:30] + 1) * 127.5, np.asarray(wide), atol=1e-3)
    assert (white[:10] == 1).all()
    assert (white[30:] == 1).all()


def test_nothing_opaque_cannot_be_framed():
    with pytest.raises(InputError, match="nothing of the picture is opaque"):
        frame(Image.new("RGBA", (20, 20)), "lgm")


def test_each_system_has_its_framing():
    framings = {
        kind.__name__: kind.__new__(kind).framing
        for kind in (Zero123Pipeline, CascadePipeline, ZeroNvsPipeline, Zero1ToGPipeline, Zero1ToGGridPipeline)
    }
    assert framings == {
        "Zero123Pipeline": "zero123",
        "CascadePipeline": "zero123",
        "ZeroNvsPipeline": "centre_square",
        "Zero1ToGPipeline": "lgm",
        "Zero1ToGGridPipeline": "lgm",
    }


def test_the_whole_way_says_what_was_done():
    made = prepare(cut_out((200, 100), (50, 20, 100, 100)), "zero123")
    assert made.line == (
        "the picture's alpha, framed as zero123: 78% of the square; the object is cut off at the picture's bottom"
    )
    assert made.picture.size == (102, 102)
    opaque = Image.new("RGBA", (30, 20), (*BLUE, 255))
    assert prepare(opaque, "centre_square").line == "the whole picture, its middle square"
    assert prepare(opaque, "zero123", foreground="none").line == "the whole picture, not framed"
    assert prepare(opaque, "zero123", foreground="none").picture.size == (30, 30)
    assert "framed as lgm: 80%" in prepare(cut_out((60, 60), (10, 10, 50, 50)), "zero123", framing="lgm").line


def test_real_pictures_are_framed(shared_assets: Path):
    paths = sorted((shared_assets / "images").glob("*.png"))
    assert len(paths) == 8
    for path in paths:
        made = prepare(open_picture(path), "zero123")
        left, top, right, bottom = bounding_box(made.picture, 127)
        assert made.picture.width == made.picture.height, path.name
        assert max(right - left, bottom - top) / made.picture.width == pytest.approx(200 / 256, abs=0.01), path.name
        assert ("cut off" in made.line) == (path.stem == "house"), path.name
