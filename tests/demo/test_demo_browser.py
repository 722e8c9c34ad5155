"""The page in real browsers: from an upload to a downloaded file, as people use it.

With DEMO_PICTURES=DIR the tests leave screenshots in that folder.
"""

import base64
import json
import os
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import trimesh
from box_model import BLUE, GREEN, HALF, RED, AlwaysTheBox, write_picture
from browser_support import BROWSER, Tab, browser
from demo_support import AlwaysPlates, serving
from PIL import Image
from test_demo_pictures import BAD

from demo.limits import Limits
from demo.studio import Studio
from demo.wishes import Wish
from stage.workspace import Workspace

pytest.importorskip("gradio")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("demo"),
    pytest.mark.skipif(BROWSER is None, reason="no chromium on this machine"),
]
STATUS = "((document.querySelector('#status .progress-note') || {}).innerText || '')"


class Page:
    """A visitor's page in a tab."""

    def __init__(self, tab: Tab, address: str) -> None:
        self.tab, self._address = tab, address
        tab.call("Page.navigate", url=address)
        tab.until("!!document.querySelector('#sphere svg') && !!document.querySelector('#model input').value")
        # Components answer once they have all been joined.
        time.sleep(2.0)

    def value(self, expression: str):
        """What JavaScript says."""
        return self.tab.call("Runtime.evaluate", expression=expression)["result"].get("value")

    def upload(self, path: Path) -> None:
        """Give it its file."""
        field = self.tab.call("Runtime.evaluate", expression="document.querySelector('#upload input[type=file]')")
        self.tab.call("DOM.setFileInputFiles", files=[str(path)], objectId=field["result"]["objectId"])

    def choose(self, path: Path) -> None:
        """Give it a picture, and wait until it is shown."""
        self.upload(path)
        self.tab.until("!!document.querySelector('#prepared img')")

    def press(self, name: str) -> None:
        """Click a button."""
        self.value(f"document.querySelector('#{name}').click()")

    def all_around(self) -> None:
        """Ask for a turn in place of one view."""
        self.value("document.querySelectorAll('#around input')[1].click()")
        self.tab.until("!!document.querySelector('#views input[type=number]')")

    def steps(self, number: int) -> None:
        """Set the sampler's steps, in the accordion that hides them."""
        self.value("[...document.querySelectorAll('button')].find(b => b.innerText.startsWith('Sampling')).click()")
        self.set("steps", number)

    def set(self, name: str, number: float) -> None:
        """Write a number into a slider's field."""
        self.tab.until(f"!!document.querySelector('#{name} input[type=number]')")
        self.value(
            f"(() => {{ const field = document.querySelector('#{name} input[type=number]');"
            f"field.value = {number}; for (const kind of ['input', 'change', 'blur'])"
            "field.dispatchEvent(new Event(kind, { bubbles: true })); })()"
        )

    def says(self, text: str, seconds: float = 60.0) -> str:
        """Wait until the status has a text; the status."""
        self.tab.until(f"{STATUS}.includes({text!r})", seconds)
        return self.value(STATUS)

    def shows(self, name: str, share) -> None:
        """Wait until a share of the pixels of a viewer's canvas is seen: it draws some time after it is there."""
        self.tab.until(f"!!document.querySelector('#{name} canvas')")
        self.value(f"document.querySelector('#{name}').scrollIntoView({{ block: 'center' }})")
        deadline = time.monotonic() + 120.0
        while share(self._canvas(name)) < 0.01:
            assert time.monotonic() < deadline, f"{name} shows nothing"
            time.sleep(1.0)

    def _canvas(self, name: str) -> np.ndarray:
        box = self.value(f"JSON.stringify(document.querySelector('#{name} canvas').getBoundingClientRect())")
        frame = json.loads(box)
        rows = slice(int(frame["y"]), int(frame["y"] + frame["height"]))
        return self.tab.picture()[rows, int(frame["x"]) : int(frame["x"] + frame["width"])]

    def keep(self, name: str, folder: Path) -> Path:
        """Download one of the result's files as people do; the file."""
        folder.mkdir(exist_ok=True)
        self.tab.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder))
        self.value(
            "[...document.querySelectorAll('#result-files a[download]')]"
            f".find(link => link.getAttribute('download') === {name!r}).click()"
        )
        deadline = time.monotonic() + 20.0
        while not (folder / name).is_file() or list(folder.glob("*.crdownload")):
            assert time.monotonic() < deadline, list(folder.iterdir())
            time.sleep(0.1)
        return folder / name

    def strangers(self) -> list[str]:
        """What the page asked others for."""
        return [
            url for url in self.tab.requests if not url.startswith((self._address, "data:", f"blob:{self._address}"))
        ]

    def keep_picture(self, name: str) -> None:
        """Leave a screenshot where somebody wants it."""
        if folder := os.environ.get("DEMO_PICTURES"):
            data = self.tab.call("Page.captureScreenshot", captureBeyondViewport=True)["data"]
            (Path(folder) / name).write_bytes(base64.b64decode(data))


@pytest.fixture
def address(studio):
    with serving(studio) as found:
        yield found


@pytest.fixture
def page(address, tmp_path):
    with browser(tmp_path / "profile", 1280, 900) as tab:
        yield Page(tab, address)


def test_from_an_upload_to_a_downloaded_picture(page, picture, tmp_path):
    page.choose(picture)
    assert "framed as zero123" in page.value("document.querySelector('#prepared-line').innerText")
    page.press("make")
    assert "on the CPU" in page.says("Done in")
    page.tab.until("!!document.querySelector('#result-picture img')")
    assert np.asarray(Image.open(page.keep("view.png", tmp_path / "kept"))).shape == (16, 16, 3)
    # Of one view there is no mesh, and the page says what to do for one.
    assert page.value("document.querySelector('#mesh').disabled")
    assert page.value("document.querySelector('#mesh').innerText") == "For a mesh make all around, 360°"
    page.keep_picture("view.png")
    assert page.strangers() == []


def test_all_around_gives_a_strip_and_a_film(page, picture):
    page.choose(picture)
    page.all_around()
    page.set("views", 6)
    page.steps(3)
    page.press("make")
    page.says("Done in")
    page.tab.until("!!document.querySelector('#result-video video')")
    assert "turn.mp4" in page.value("document.querySelector('#result-files').innerText.replace(/\\s/g, '')")
    page.keep_picture("turn.png")
    assert page.strangers() == []


def test_dragging_the_sphere_turns_the_camera(page):
    box = page.value(
        "(() => { const b = document.querySelector('#sphere svg').getBoundingClientRect();"
        "return JSON.stringify([b.x + b.width / 2, b.y + b.height / 2]); })()"
    )
    x, y = json.loads(box)
    before = float(page.value("document.querySelector('#azimuth_deg input[type=number]').value"))
    for kind, dx, dy in (
        ("mousePressed", 0, 0),
        ("mouseMoved", 30, -20),
        ("mouseMoved", 60, -40),
        ("mouseReleased", 60, -40),
    ):
        page.tab.call(
            "Input.dispatchMouseEvent", type=kind, x=x + dx, y=y + dy, button="left", buttons=1, clickCount=1
        )
    # 0.9° a pixel: to the right goes round, up goes higher.
    page.tab.until(f"Number(document.querySelector('#azimuth_deg input[type=number]').value) === {before + 54}")
    page.tab.until("Number(document.querySelector('#rise_deg input[type=number]').value) === 36")
    assert "36° up" in page.value("document.querySelector('#sphere').innerText")


def test_what_is_no_picture_is_refused_on_the_page(page, tmp_path):
    for name, (data, reason) in BAD.items():
        (tmp_path / name).write_bytes(data)
        page = Page(page.tab, page._address)
        page.upload(tmp_path / name)
        # gradio itself refuses an empty file, in its own words.
        said = "(document.querySelector('#prepared-line').innerText + document.body.innerText)"
        page.tab.until(f"{said}.includes({reason!r}) || {said}.toLowerCase().includes('empty')")
        assert not page.value("!!document.querySelector('#prepared img')")
    page.keep_picture("refused.png")
    page.press("make")
    page.says("there is no picture yet")


def test_two_at_once_and_a_cancel_that_frees_the_device(address, picture, tmp_path):
    with browser(tmp_path / "ann", 1000, 800) as one, browser(tmp_path / "bob", 1000, 800) as two:
        ann, bob = Page(one, address), Page(two, address)
        ann.choose(picture)
        bob.choose(picture)
        ann.all_around()
        ann.steps(100)
        ann.press("make")
        ann.says("step ")
        bob.press("make")
        bob.says("Waiting: 1 before yours")
        bob.keep_picture("waiting.png")
        ann.press("cancel")
        ann.says("Cancelled after")
        bob.says("Done in")
        assert not ann.value("document.querySelector('#make').disabled")


def test_who_closes_the_page_frees_the_device(studio, address, picture, tmp_path):
    with browser(tmp_path / "ann", 1000, 800) as tab:
        ann = Page(tab, address)
        ann.choose(picture)
        ann.all_around()
        ann.steps(100)
        ann.press("make")
        ann.says("step ")
        (visitor,) = studio.visitors._visitors.values()
        tab.call("Page.navigate", url="about:blank")
        assert visitor.job.wait(20)
        assert visitor.job.state == "cancelled"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_narrow_window_in_light_and_dark(page, scheme):
    page.tab.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    page.tab.call("Emulation.setDeviceMetricsOverride", width=390, height=844, deviceScaleFactor=1, mobile=True)
    narrow = Page(page.tab, page._address)
    assert narrow.value("document.documentElement.scrollWidth") <= 390
    narrow.keep_picture(f"narrow-{scheme}.png")
    page.tab.call("Emulation.setDeviceMetricsOverride", width=1280, height=900, deviceScaleFactor=1, mobile=False)
    time.sleep(0.5)
    narrow.keep_picture(f"wide-{scheme}.png")


@contextmanager
def offered(pipeline, model, folder, limits):
    """The page of a studio whose one model is a pipeline, in a browser."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("demo.models.ModelCatalogue._registered", lambda _: [])
        patch.setattr("demo.pipelines.load_pipeline", lambda _: pipeline)
        studio = Studio(Workspace(folder / "workspace"), (model,), limits, ["cpu"])
        try:
            with serving(studio) as address, browser(folder / "profile", 1280, 1100) as tab:
                yield Page(tab, address)
        finally:
            studio.close()


def red(pixels):
    """Share of pixels that are red."""
    return ((pixels[..., 0] > 0.4) & (pixels[..., 1] < 0.35) & (pixels[..., 2] < 0.4)).mean()


@pytest.mark.minutes(2)
@pytest.mark.timeout(2700)
def test_gaussians_are_turned_in_the_page_and_become_a_mesh(model, picture, tmp_path):
    with offered(AlwaysPlates(), model, tmp_path, Limits(most_seconds=2400.0)) as page:
        page.choose(picture)
        page.press("make")
        page.says("Done in")
        page.shows("result-gaussians", red)
        page.press("mesh")
        page.says("looking at the Gaussians: step", 900.0)
        page.says("baking in Blender", 900.0)
        assert "GiB of memory" in page.says("Done in", 900.0)
        page.shows("result-mesh", red)
        page.keep_picture("gaussians.png")
        mesh = textured(page.keep("model.glb", tmp_path / "kept"))
        # Two plates 0.2 apart, 0.4 wide and 0.8 high, of Gaussians of 0.05: nothing is half opaque at two of those.
        beyond = mesh.extents - [0.2, 0.4, 0.8]
        assert beyond.min() > 0.0
        assert beyond.max() < 4 * 0.05
        assert page.strangers() == []


@pytest.mark.minutes(3)
@pytest.mark.timeout(2700)
def test_from_an_upload_by_way_of_a_turn_to_a_downloaded_mesh(model, tmp_path, monkeypatch):
    monkeypatch.setattr("demo.meshes._FRAMES", "2")
    picture = write_picture(tmp_path / "box.png", Wish().condition(96))
    with offered(AlwaysTheBox(), model, tmp_path, Limits(mesh_steps=300, most_seconds=2400.0)) as page:
        page.choose(picture)
        page.all_around()
        # Each view from those before it is for models of views alone.
        page.value("document.querySelector('#fused input').click()")
        page.set("views", 12)
        page.press("make")
        page.says("Done in")
        # A film that is drawn over and over takes the processor from the fitting.
        page.value("document.querySelector('#result-video video').pause()")
        page.press("mesh")
        page.says("fitting a surface to the views: step", 900.0)
        page.keep_picture("fitting.png")
        page.says("filming the surface: step", 900.0)
        assert "on the CPU" in page.says("Done in", 900.0)
        page.shows("result-mesh", red)
        page.keep_picture("mesh.png")
        mesh = textured(page.keep("model.glb", tmp_path / "kept"))
        assert np.allclose(mesh.bounds, [np.negative(HALF), HALF], atol=0.1)
        for side, colour in (([HALF[0], 0, 0], RED), ([-HALF[0], 0, 0], BLUE), ([0, HALF[1], 0], GREEN)):
            assert np.abs(colour_at(mesh, side) - colour).max() < 0.25
        assert len(trimesh.load(page.keep("model.ply", tmp_path / "kept")).visual.vertex_colors)
        assert page.keep("model.mp4", tmp_path / "kept").read_bytes()[4:8] == b"ftyp"
        assert page.strangers() == []


def textured(path):
    """The one mesh of a GLB, in our frame: Z up where glTF has Y."""
    (mesh,) = trimesh.load_scene(path).geometry.values()
    assert mesh.visual.uv is not None
    assert min(mesh.visual.material.baseColorTexture.size) > 100
    mesh.apply_transform([[1, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
    return mesh


def colour_at(mesh, place):
    """RGB in [0, 1] of a texture, at the corner that is nearest to a place."""
    corner = mesh.visual.uv[np.linalg.norm(mesh.vertices - place, axis=1).argmin()]
    return mesh.visual.material.to_color(corner[None])[0, :3] / 255.0
