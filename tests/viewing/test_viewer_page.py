"""The page in a real browser, cut off from the network: what it shows is what the rasteriser shows."""

import re

import numpy as np
import pytest
from browser_support import BROWSER, browser

from geometry.cameras import Intrinsics
from stage.errors import InputError
from viewing import page as page_module
from viewing.page import viewer_from_world, write_page
from viewing.turntable import pictures, turntable_around

FOV, ELEVATION = np.radians(40.0), np.radians(20.0)
WIDTH, HEIGHT = 320, 160


@pytest.fixture(scope="module")
def page(box, converter, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "viewer.html"
    write_page(path, box, turntable_around(box, FOV), ELEVATION, FOV, "a <box> & more")
    return path


@pytest.mark.skipif(BROWSER is None, reason="no chromium on this machine")
def test_browser_shows_what_the_rasteriser_shows(box, page, tmp_path):
    with browser(tmp_path / "profile", WIDTH, HEIGHT) as tab:
        tab.call("Page.addScriptToEvaluateOnNewDocument", source="window.firstFrame = () => { window.isShown = true }")
        tab.call("Page.navigate", url=f"{page.as_uri()}?noui&noanim")
        tab.until("window.isShown")
        shown, title, requests = tab.picture(), tab.until("document.title"), tab.requests
    assert title == "a <box> & more"
    assert {url.split(":")[0] for url in requests} <= {"file", "data", "blob"}
    # The window is twice as wide as high, so its height is the field of view that was asked for.
    focal = 0.5 * HEIGHT / np.tan(FOV / 2)
    lens = Intrinsics(focal, focal, WIDTH / 2, HEIGHT / 2, WIDTH, HEIGHT)
    (expected,) = pictures(box, [turntable_around(box, FOV).c2w(ELEVATION, 0.0)], lens)
    expected = expected / 255.0
    assert np.abs(shown - expected).mean() < 0.01
    middle, left, right = shown[:, WIDTH // 2], shown[HEIGHT // 2 + 10, 135], shown[HEIGHT // 2 + 10, 185]
    assert shown[:3].min() > 0.99
    assert np.argmax(left) == 0
    assert np.argmax(right) == 2
    coloured = np.flatnonzero(middle.min(axis=1) < 0.5)
    assert np.argmax(middle[coloured[4]]) == 1


def test_page_carries_everything_and_may_ask_nobody(page):
    text = page.read_text()
    assert "default-src 'none'" in text.split("</head>")[0]
    assert not re.findall(r'<(?:script|link|img|iframe)[^>]+(?:src|href)="(?!data:)[^"]+"', text)
    assert "The viewer in this page:\nCopyright (c) 2011-2026 PlayCanvas Ltd." in text


def test_same_gaussians_give_the_same_page(box, page, tmp_path):
    write_page(tmp_path / "again.html", box, turntable_around(box, FOV), ELEVATION, FOV, "a <box> & more")
    assert (tmp_path / "again.html").read_bytes() == page.read_bytes()


def test_viewer_axes_are_a_rotation_with_up_along_y():
    axes = viewer_from_world(np.eye(3))
    assert np.linalg.det(axes) == pytest.approx(1.0)
    assert axes[2].tolist() == [0.0, 1.0, 0.0]


def test_a_page_of_another_tool_is_refused():
    with pytest.raises(InputError, match="a page of another kind"):
        page_module._sealed("<html></html>", "title")
