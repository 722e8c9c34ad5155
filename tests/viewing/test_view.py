"""What a look at Gaussians writes, with and without the viewer, and where Gaussians are found."""

import av
import numpy as np
import pandas as pd
import pytest
from box_support import coloured_box
from PIL import Image

from geometry.gaussians import concatenate
from geometry.ply import write_ply
from stage.errors import InputError
from stage.packs import object_folder, write_packs
from stage.workspace import Workspace
from viewing.objects import find_gaussians
from viewing.view import Look, write_view

UIDS = ("aa11", "ab22", "cc33")
LOOK = Look(frames=3, size=32, elevation=0.3, fov=0.7, radius=None)


@pytest.fixture
def workspace(tmp_path):
    """Objects in packs alone, as after `dvc pull`; the last one failed."""
    place, loose = Workspace(tmp_path / "workspace"), tmp_path / "loose"
    for number, uid in enumerate(UIDS[:2]):
        write_ply(object_folder(loose, uid) / "fused.ply", coloured_box(0.2 + 0.1 * number))
    write_packs(loose, UIDS[:2], place.splatters, 1)
    frame = pd.DataFrame({"uid": UIDS, "failure": ["", "", "blank"]})
    frame.to_parquet(place.splatters / "splatters.parquet", index=False)
    return place


def test_without_the_viewer_there_is_a_video_and_a_sheet(tmp_path, monkeypatch):
    folder = tmp_path / "view"
    folder.mkdir()
    (folder / "viewer.html").write_text("of other Gaussians")
    monkeypatch.setenv("PATH", str(tmp_path))
    reason = write_view(folder, "box", coloured_box(0.1), LOOK)
    assert reason.startswith("Node.js is missing; apt-get install")
    assert sorted(path.name for path in folder.iterdir()) == ["orbit.mp4", "sheet.png"]
    with av.open(str(folder / "orbit.mp4")) as container:
        assert [frame.to_ndarray(format="rgb24").shape for frame in container.decode(video=0)] == [(32, 32, 3)] * 3
    with Image.open(folder / "sheet.png") as sheet:
        pixels = np.asarray(sheet)
    assert pixels.shape == (3 * 130 - 2, 8 * 130 - 2, 3)
    # From the front red is left of blue, from behind right of it; the third row looks at the green top.
    front, behind, above = pixels[194, :128], pixels[194, 4 * 130 : 4 * 130 + 128], pixels[260 + 50, :128]
    assert (np.argmax(front[44]), np.argmax(front[84])) == (0, 2)
    assert (np.argmax(behind[44]), np.argmax(behind[84])) == (2, 0)
    assert np.argmax(above[64]) == 1


def test_a_second_look_gives_the_same_files(tmp_path, converter):
    for name in ("first", "second"):
        assert write_view(tmp_path / name, "box", coloured_box(0.2), LOOK) == ""
    for path in (tmp_path / "first").iterdir():
        assert path.read_bytes() == (tmp_path / "second" / path.name).read_bytes()
    assert len(list((tmp_path / "first").iterdir())) == 3


def test_objects_are_found_in_the_packs(workspace):
    for number, uid in enumerate(UIDS[:2]):
        name, gaussians = find_gaussians(uid, workspace)
        assert (name, len(gaussians)) == (uid, len(coloured_box(0.2 + 0.1 * number)))


def test_an_object_is_what_was_published_whatever_scratch_space_holds(workspace):
    write_ply(object_folder(workspace.scratch / "splatters", UIDS[0]) / "fused.ply", coloured_box(0.9))
    _, gaussians = find_gaussians(UIDS[0], workspace)
    np.testing.assert_array_equal(gaussians.means, coloured_box(0.2).means)


def test_unknown_and_failed_objects_name_the_nearest(workspace):
    with pytest.raises(InputError, match=r"ab is no file and no object of .*; of 2 objects the nearest are ab22$"):
        find_gaussians("ab", workspace)
    with pytest.raises(InputError, match="cc33 is no file and no object"):
        find_gaussians("cc33", workspace)
    with pytest.raises(InputError, match="give a file, or run viewforge splatter first"):
        find_gaussians("ab22", Workspace(workspace.root / "nowhere"))


def test_an_empty_file_is_named(tmp_path):
    write_ply(tmp_path / "none.ply", concatenate([]))
    with pytest.raises(InputError, match=r"none\.ply holds no Gaussians"):
        find_gaussians(str(tmp_path / "none.ply"), Workspace(tmp_path))
