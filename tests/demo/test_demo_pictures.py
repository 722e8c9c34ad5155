"""What people upload: pictures, and what is none."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from demo.limits import Limits
from demo.pictures import foreground_choices, on_white, prepared, read_upload
from stage.errors import InputError
from systems.pictures.opening import PictureLimits


def huge_png() -> bytes:
    """The head of a PNG of 30,000 × 30,000 pixels, which nobody needs to decode to refuse."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def animated_gif() -> bytes:
    frames, data = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue")], io.BytesIO()
    frames[0].save(data, format="GIF", save_all=True, append_images=frames[1:])
    return data.getvalue()


BAD = {
    "notes.txt": (b"no picture at all\n" * 9, "is no picture of a known kind"),
    "huge.png": (huge_png(), "has more than 50,000,000 pixels"),
    "empty.png": (b"", "is empty: 0 bytes"),
    "dance.gif": (animated_gif(), "a GIF"),
    "logo.svg": (b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>', "an SVG drawing"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_picture_is_refused_in_one_line(name, tmp_path):
    data, reason = BAD[name]
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError, match=reason) as refused:
        read_upload(tmp_path / name, Limits())
    assert str(tmp_path) not in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_file_that_is_too_large_is_not_read_whole(tmp_path):
    (tmp_path / "large.png").write_bytes(bytes(2000))
    with pytest.raises(InputError, match=r"large.png has more than 1,000 bytes"):
        read_upload(tmp_path / "large.png", Limits(PictureLimits(most_bytes=1000)))


def test_the_object_is_cut_out_and_put_into_the_middle():
    rgba = np.zeros((40, 60, 4), np.uint8)
    rgba[2:12, 4:14] = (200, 40, 40, 255)
    made = prepared(Image.fromarray(rgba), "zero123", "auto")
    alpha = np.asarray(made.picture)[..., 3]
    rows, columns = np.flatnonzero(alpha.any(axis=1)), np.flatnonzero(alpha.any(axis=0))
    assert alpha.shape[0] == alpha.shape[1]
    assert abs(rows[0] - (len(alpha) - 1 - rows[-1])) <= 1
    assert abs(columns[0] - (len(alpha) - 1 - columns[-1])) <= 1


def test_a_way_to_find_the_object_is_never_a_file_of_the_server():
    with pytest.raises(InputError, match="is no way to find an object"):
        prepared(Image.new("RGBA", (16, 16)), "zero123", "/etc/passwd")


def test_a_picture_without_transparency_is_told_of_the_pages_own_remedy(monkeypatch, tmp_path):
    monkeypatch.setenv("U2NET_HOME", str(tmp_path))
    with pytest.raises(InputError, match="choose the whole picture") as refused:
        prepared(Image.new("RGBA", (16, 16), "red"), "zero123", "auto")
    assert "--" not in str(refused.value)
    assert "segment" not in dict(foreground_choices()).values()


def test_people_see_pictures_on_white():
    shown = np.asarray(on_white(Image.new("RGBA", (16, 16), (0, 0, 0, 0))))
    assert shown.shape == (320, 320, 3)
    assert shown.min() == 255
