"""The video: read back by the library and played by a browser."""

import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from browser_support import BROWSER, browser

from viewing.video import write_video

PROJECT = Path(__file__).resolve().parents[2]
SIZE, FRAMES = 64, 12


def frames():
    """A grey picture whose red square moves to the right."""
    for number in range(FRAMES):
        pixels = np.full((SIZE, SIZE, 3), 128, np.uint8)
        pixels[16:48, 4 * number : 4 * number + 16] = (200, 30, 30)
        yield pixels


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    path = tmp_path_factory.mktemp("video") / "orbit.mp4"
    write_video(path, frames(), SIZE, 16)
    return path


def test_frames_come_back_in_order_and_colour(video):
    with av.open(str(video)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert stream.average_rate == 16
        decoded = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
    assert len(decoded) == FRAMES
    for shown, written in zip(decoded, frames(), strict=True):
        assert shown.shape == written.shape
        assert np.abs(shown.astype(float) - written).mean() < 4


def test_same_frames_give_the_same_bytes(video, tmp_path):
    """Many times: with x264's macroblock tree one in ten differs."""
    for _ in range(40):
        write_video(tmp_path / "again.mp4", frames(), SIZE, 16)
        assert (tmp_path / "again.mp4").read_bytes() == video.read_bytes()


def test_an_interrupted_video_leaves_nothing(tmp_path):
    def broken():
        yield from list(frames())[:3]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_video(tmp_path / "orbit.mp4", broken(), SIZE, 16)
    assert not list(tmp_path.iterdir())


# Kills itself in the middle of a video, or goes on for a minute.
WRITER = """
import os, sys, time
import numpy as np
from viewing.video import write_video
def frames():
    # The encoder looks ahead before it writes.
    for _ in range(100):
        yield np.zeros((64, 64, 3), np.uint8)
    print(flush=True)
    if sys.argv[2] == "killed":
        os.kill(os.getpid(), 9)
    time.sleep(60)
write_video(__import__("pathlib").Path(sys.argv[1]), frames(), 64, 16)
"""


def test_what_a_killed_writer_left_goes_and_what_a_living_one_writes_stays(tmp_path):
    path = tmp_path / "orbit[1].mp4"
    command = [sys.executable, "-c", WRITER, str(path)]
    subprocess.run([*command, "killed"], cwd=PROJECT, stdout=subprocess.DEVNULL, check=False)
    (left,) = tmp_path.iterdir()
    (tmp_path / ".other.mp4.tmp").write_bytes(b"somebody else's")
    with subprocess.Popen([*command, "alive"], cwd=PROJECT, stdout=subprocess.PIPE) as alive:
        try:
            assert alive.stdout is not None
            alive.stdout.readline()
            write_video(path, frames(), SIZE, 16)
        finally:
            alive.kill()
    others = {each.name for each in tmp_path.iterdir()} - {path.name, ".other.mp4.tmp"}
    assert left.name not in others
    assert [name.endswith(f"-{alive.pid}.tmp") for name in others] == [True]


@pytest.mark.skipif(BROWSER is None, reason="no chromium on this machine")
def test_a_browser_plays_it_in_its_colours(video, tmp_path):
    page = video.with_name("page.html")
    page.write_text('<body style="margin:0"><video id="it" src="orbit.mp4" muted></video>')
    with browser(tmp_path / "profile", SIZE, SIZE) as tab:
        tab.call("Page.navigate", url=page.as_uri())
        tab.until("window.it && it.readyState >= 3")
        assert tab.until("`${it.videoWidth} ${it.videoHeight} ${it.duration}`") == f"{SIZE} {SIZE} {FRAMES / 16}"
        tab.until("it.requestVideoFrameCallback(() => { window.drawn = true }), it.currentTime = 0.001, true")
        tab.until("window.drawn")
        shown = tab.picture()
    first = next(frames()) / 255.0
    assert np.abs(shown[:60, :60] - first[:60, :60]).mean() < 0.03
