"""Which objects and views a folder holds, told by names alone: empty files do."""

from pathlib import Path

import pytest

from evaluation.folders.layout import SINGLE, find_objects
from stage.errors import InputError


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def views(root: Path, uid: str) -> dict[str, str]:
    return {view: path.relative_to(root).as_posix() for view, path in find_objects(root)[uid].views.items()}


def test_numbers_name_views_however_they_are_padded_and_in_their_order(tmp_path):
    root = touch(tmp_path, *(f"a/{number}.png" for number in (0, 2, 10)), "b/000.webp", "b/010.jpg", "b/002.jpeg")
    assert list(views(root, "a")) == list(views(root, "b")) == ["0", "2", "10"]


def test_a_rendered_object_with_its_passes_and_cameras(tmp_path):
    root = touch(tmp_path, "ab/ab12/000.png", "ab/ab12/000.npy", "ab/ab12/000_depth.png", "ab/ab12/transforms.json")
    touch(root, "ab/ab99/000.png", "cd/cd00/000.png")
    assert list(find_objects(root)) == ["ab12", "ab99", "cd00"]
    assert views(root, "ab12") == {"0": "ab/ab12/000.png"}
    assert find_objects(root)["ab12"].cameras == root / "ab/ab12/transforms.json"


def test_the_layout_of_viewfusion(tmp_path):
    root = touch(
        tmp_path, *(f"mario/3/{number}.png" for number in range(36)), "mario/3/condition.png", "parameter.txt"
    )
    assert list(views(root, "mario")) == [str(number) for number in range(36)]
    touch(root, "mario/4/0.png")
    assert "2 folders of pictures (3, 4): keep one" in find_objects(root)["mario"].trouble


def test_the_layout_of_syncdreamers_evaluator_is_one_object_whatever_the_folder_is_called(tmp_path):
    root = touch(tmp_path, "000.png", "000-depth.png", "001.png")
    assert list(find_objects(root)) == [SINGLE]
    assert list(views(root, SINGLE)) == ["0", "1"]


def test_strips_and_meshes_beside_the_folders(tmp_path):
    root = touch(tmp_path, "vase.png", "vase.ply", "sofa.OBJ", "lamp/mesh.glb", "lamp/0.npy", "notes.txt")
    found = find_objects(root)
    assert list(found) == ["lamp", "sofa", "vase"]
    assert views(root, "vase") == {"0": "vase.png"}
    assert [files.mesh.name for files in found.values()] == ["mesh.glb", "sofa.OBJ", "vase.ply"]
    assert views(root, "lamp") == {"0": "lamp/0.npy"}


def test_names_that_are_no_numbers_are_taken_whole(tmp_path):
    assert list(views(touch(tmp_path, "a/front.png", "a/back.png"), "a")) == ["back", "front"]


@pytest.mark.parametrize(
    "names",
    [
        ("a/0.png", "a/000.png"),
        ("a/0.png", "a/0.jpg"),
        ("a/mesh.obj", "a/mesh.ply"),
        ("a.obj", "a.ply"),
        ("a.png", "a.webp"),
    ],
)
def test_two_files_for_one_thing_are_trouble_of_that_object_alone(tmp_path, names):
    found = find_objects(touch(tmp_path, *names, "b/0.png"))
    assert "keep one" in found["a"].trouble
    assert not found["b"].trouble


def test_a_picture_beside_its_folder_of_views_is_left_alone(tmp_path):
    root = touch(tmp_path, "a.png", "a/0.png", "a/1.png")
    assert views(root, "a") == {"0": "a/0.png", "1": "a/1.png"}
    assert not find_objects(root)["a"].trouble


def test_hidden_files_are_left_alone(tmp_path):
    assert list(find_objects(touch(tmp_path, ".cache/0.png", "a/0.png", "a/.1.png"))) == ["a"]


@pytest.mark.parametrize("make", [lambda _: None, Path.mkdir, lambda root: touch(root, "read.me")])
def test_a_folder_without_objects_is_refused(tmp_path, make):
    make(tmp_path / "folder")
    with pytest.raises(InputError, match=r"folder"):
        find_objects(tmp_path / "folder")
