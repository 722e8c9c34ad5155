"""ZeroNVS's shard layout: round trips, the published loaders' rules, stock webdataset, and damage that is named."""

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image
from published_zeronvs import published_scenes
from scene_support import archive_files, png, scene, write_archive

from geometry.cameras import Intrinsics, look_at_origin
from stage.errors import InputError
from training.data.zeronvs_layout import decode_depth, encode_depth, read_scene, read_scenes, write_scenes

FORMS = ("co3d", "re10k")


@given(arrays.arrays(np.float16, (3, 5), elements=st.floats(0, 65504, width=16)))
def test_depth_round_trips_every_16_bit_float(depth):
    np.testing.assert_array_equal(decode_depth(encode_depth(depth.astype(np.float32))), depth)


def test_depth_is_the_bits_of_its_floats():
    """1.5 is 0 01111 1000000000, 2⁻²⁴ the smallest number there is."""
    with Image.open(io.BytesIO(encode_depth(np.array([[1.5, 2.0**-24, 0.0]])))) as image:
        assert image.mode == "I;16"
        assert np.asarray(image).tolist() == [[0b0011111000000000, 1, 0]]


@pytest.mark.parametrize("depth", [-1.0, np.nan, np.inf, 65505.0])
def test_depth_that_cannot_be_stored_is_refused(depth):
    with pytest.raises(ValueError, match="range of 16-bit floats"):
        encode_depth(np.array([[depth]]))


def test_impossible_published_depths_become_invalid():
    bits = np.array([-1.0, np.inf, np.nan, 2.0], dtype=np.float16).view(np.uint16)
    assert decode_depth(png(bits[None])).tolist() == [[0.0, 0.0, 0.0, 2.0]]


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from(FORMS),
    st.floats(0.01, 3.1),
    st.floats(-3.1, 3.1),
    st.floats(0.05, 500.0),
    st.floats(4.0, 2000.0),
    st.tuples(st.integers(1, 20), st.integers(1, 20)),
)
def test_any_camera_round_trips(tmp_path_factory, form, polar, azimuth, radius, focal, size):
    lens = Intrinsics(focal, focal, size[0] / 2, size[1] / 2, *size)
    if form == "re10k" and size[0] > size[1]:
        form = "co3d"
    written = replace(scene(views=1, size=size), intrinsics=(lens,), c2w=look_at_origin(polar, azimuth, radius)[None])
    (read,) = read_scenes(*write_scenes(tmp_path_factory.mktemp("s"), "train", [written], form))
    np.testing.assert_allclose(read.c2w, written.c2w, atol=1e-6 * max(1.0, radius))
    np.testing.assert_allclose(list(vars(read.intrinsics[0]).values()), list(vars(lens).values()), rtol=1e-6)


@pytest.mark.parametrize("form", FORMS)
def test_scenes_round_trip(tmp_path, form):
    scenes = [scene("one", size=(12, 12)), scene("two", "bowl", 2, (10, 20), seed=1)]
    for written, read in zip(scenes, read_scenes(*write_scenes(tmp_path, "val", scenes, form)), strict=True):
        assert (read.category, read.name) == (written.category, written.name)
        np.testing.assert_array_equal(read.pictures, written.pictures)
        np.testing.assert_array_equal(read.depth, written.depth)
        np.testing.assert_allclose(read.c2w, written.c2w, atol=1e-12)


def test_file_names_and_keys_are_the_published_ones(tmp_path):
    (shard,) = write_scenes(tmp_path, "train", [scene(views=2)])
    files = archive_files(shard)
    assert list(files) == [
        f"book/1_2_3/frame00000{number}{suffix}"
        for number in (1, 2)
        for suffix in (".png", "_depth.png", "_metadata.json")
    ]
    metadata = json.loads(files["book/1_2_3/frame000002_metadata.json"])
    assert sorted(metadata) == ["R", "T", "focal_length", "principal_point", "scale_adjustment"]
    (shard,) = write_scenes(tmp_path, "train", [scene(views=1, size=(8, 8))], "re10k")
    metadata = json.loads(archive_files(shard)["book/1_2_3/frame000001_metadata.json"])
    assert sorted(metadata) == ["extrinsics", "intrinsics"]


@pytest.mark.parametrize("form", FORMS)
def test_the_published_loaders_rules_give_what_was_written(tmp_path, form):
    written = scene(views=4, size=(12, 16))
    (read,) = published_scenes(*write_scenes(tmp_path, "train", [written], form), form, side=12)
    np.testing.assert_array_equal(read.images, written.pictures[:, 2:14])
    np.testing.assert_array_equal(read.depths, written.depth[:, 2:14])
    np.testing.assert_allclose(read.c2w, written.c2w, atol=1e-9)
    np.testing.assert_allclose(read.fov, written.intrinsics[0].fov_x)


def test_the_same_scenes_give_the_same_bytes_and_old_shards_go(tmp_path):
    scenes = [scene(str(number), seed=number) for number in range(3)]
    many = write_scenes(tmp_path / "a", "train", scenes, max_bytes=1)
    assert [path.name for path in many] == [f"train-00000{number}.tar" for number in range(3)]
    again = write_scenes(tmp_path / "b", "train", iter(scenes), max_bytes=1)
    assert [path.read_bytes() for path in many] == [path.read_bytes() for path in again]
    assert [read.name for path in many for read in read_scenes(path)] == ["0", "1", "2"]
    assert len(write_scenes(tmp_path / "a", "train", scenes)) == 1
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["train-000000.tar"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"category": "a/b"}, "is no folder's name"),
        ({"name": ""}, "is no folder's name"),
        ({"name": ".."}, "is no folder's name"),
        ({"intrinsics": (Intrinsics(14, 14, 9, 6, 16, 12),) * 3}, "no principal point off the picture's middle"),
        ({"intrinsics": (Intrinsics(14, 14, 8, 8, 16, 16),) * 3}, "differ in size"),
        ({"depth": np.full((3, 12, 16), -1.0)}, "frame000001 cannot be written: its depth"),
    ],
)
def test_what_the_layout_cannot_hold_is_named(tmp_path, change, words):
    with pytest.raises(InputError, match=words):
        write_scenes(tmp_path, "train", [replace(scene(), **change)])
    assert list(tmp_path.iterdir()) == []


def test_pixels_that_are_not_square_need_the_other_form(tmp_path):
    oblong = replace(scene(), intrinsics=(Intrinsics(14, 15, 8, 6, 16, 12),) * 3)
    (read,) = read_scenes(*write_scenes(tmp_path, "train", [oblong], "co3d"))
    np.testing.assert_allclose((read.intrinsics[0].fx, read.intrinsics[0].fy), (14, 15))
    with pytest.raises(InputError, match="square pixels alone"):
        write_scenes(tmp_path, "train", [oblong], "re10k")


def test_wide_pictures_need_the_other_form(tmp_path):
    with pytest.raises(InputError, match="a wide picture's field of view wrong; write the form co3d"):
        write_scenes(tmp_path, "train", [scene(size=(16, 12))], "re10k")


def test_a_scene_that_comes_twice_is_refused(tmp_path):
    with pytest.raises(InputError, match="book/1_2_3 comes twice"):
        write_scenes(tmp_path, "train", [scene(), scene()])


def changed(tmp_path: Path, change, form="co3d") -> Path:
    """A shard of a scene whose files `change` has changed."""
    (shard,) = write_scenes(tmp_path, "train", [scene() if form == "co3d" else scene(size=(12, 12))], form)
    files = archive_files(shard)
    change(files)
    return write_archive(tmp_path / "changed.tar", files)


def set_metadata(**values):
    def change(files):
        name = "book/1_2_3/frame000002_metadata.json"
        kept = {**json.loads(files[name]), **values}
        files[name] = json.dumps({key: value for key, value in kept.items() if value is not None}).encode()

    return change


def test_scale_adjustment_multiplies_depth(tmp_path):
    (read,) = read_scenes(changed(tmp_path, set_metadata(scale_adjustment=0.25)))
    np.testing.assert_array_equal(read.depth[1], scene().depth[1] / 4)
    np.testing.assert_array_equal(read.depth[0], scene().depth[0])


def test_co3ds_own_format_of_intrinsics_is_followed(tmp_path):
    change = set_metadata(intrinsics_format="ndc_isotropic", focal_length=[2.0, 2.0], principal_point=[0.1, 0.0])
    (read,) = read_scenes(changed(tmp_path, change))
    # Half the shorter side of 16×12 is 6 pixels.
    np.testing.assert_allclose(list(vars(read.intrinsics[1]).values()), [12, 12, 8 - 0.6, 6, 16, 12])


def test_a_scene_without_any_depth_has_it_nowhere(tmp_path):
    def change(files):
        for name in [name for name in files if name.endswith("_depth.png")]:
            del files[name]

    (read,) = read_scenes(changed(tmp_path, change))
    assert not read.depth.any()
    assert read.depth.shape == (3, 12, 16)


def delete(name):
    return lambda files: files.pop(f"book/1_2_3/{name}")


def replace_file(name, data):
    return lambda files: files.update({f"book/1_2_3/{name}": data})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (delete("frame000002_metadata.json"), r"frame000002: frame000002_metadata\.json is missing"),
        (delete("frame000002_depth.png"), r"frame000002: frame000002_depth\.png is missing"),
        (delete("frame000002.png"), r"frame000002: frame000002\.png is missing"),
        (replace_file("frame000002.png", b"no picture"), "frame000002: it is no PNG"),
        (replace_file("frame000002.png", png(np.zeros((4, 4, 3), np.uint8))), "differ in size"),
        (replace_file("frame000002_depth.png", png(np.zeros((12, 16, 3), np.uint8))), "not of 16-bit grey"),
        (replace_file("frame000002_metadata.json", b"{"), "frame000002: Expecting"),
        (replace_file("frame000002_metadata.json", b"[]"), "no JSON object"),
        (set_metadata(T=None), "frame000002: its metadata lacks T"),
        (set_metadata(T=[1, 2]), "its T is no 3 of finite numbers"),
        (set_metadata(T="abc"), "frame000002"),
        (set_metadata(R=np.ones((3, 3)).tolist()), "pose is not rigid"),
        (set_metadata(R=np.diag([1, 1, -1]).tolist()), "pose is not rigid"),
        (set_metadata(focal_length=[-1, 1]), "focal length is not positive"),
        (set_metadata(intrinsics_format="metres"), "intrinsics_format is 'metres'"),
        (set_metadata(principal_point=[0, 1.5]), "lies outside the picture"),
        (set_metadata(scale_adjustment=0), "scale_adjustment is 0"),
    ],
)
def test_damage_is_named_by_shard_and_key(tmp_path, change, words):
    with pytest.raises(InputError, match=rf"changed\.tar: book/1_2_3.*{words}") as caught:
        list(read_scenes(changed(tmp_path, change)))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (
            {"intrinsics": np.linalg.inv([[0.9, 0, 0.5], [0, 0.9, 0.5], [0, 0, 1]]).tolist()},
            "not of a picture of 12×12",
        ),
        ({"intrinsics": np.zeros((3, 3)).tolist()}, "its metadata is not ZeroNVS's: Singular matrix"),
        ({"extrinsics": np.ones((4, 4)).tolist()}, "pose is not rigid"),
        ({"extrinsics": None}, "lacks extrinsics"),
    ],
)
def test_damage_of_the_other_form_is_named(tmp_path, values, words):
    with pytest.raises(InputError, match=words):
        list(read_scenes(changed(tmp_path, set_metadata(**values), "re10k")))


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([".png", "_depth.png", "_metadata.json"]),
    st.integers(0, 10**6),
    st.integers(1, 255),
    st.booleans(),
)
def test_whatever_byte_is_wrong_a_scene_is_read_or_its_key_is_named(written_files, suffix, place, change, cut):
    name = f"frame000001{suffix}"
    data = bytearray(written_files[name])
    place %= len(data)
    data[place] ^= change
    files = {**written_files, name: bytes(data[:place] if cut else data)}
    try:
        read = read_scene(Path("some.tar"), "book/1_2_3", files)
    except InputError as error:
        message = str(error)
    else:
        assert np.isfinite(read.depth).all()
        return
    assert message.startswith("some.tar: book/1_2_3/frame000001: ")
    # An address in memory would differ from run to run, and so would the tables that keep reasons.
    assert " object at 0x" not in message
    assert "\n" not in message


@pytest.fixture(scope="module")
def written_files(tmp_path_factory):
    """The files of a written scene by name."""
    (shard,) = write_scenes(tmp_path_factory.mktemp("w"), "train", [scene(views=1)])
    return {name.rpartition("/")[2]: data for name, data in archive_files(shard).items()}


@pytest.mark.parametrize("kept", [100, 1024, 2000, 5 * 512])
def test_a_truncated_shard_never_passes_for_a_whole_one(tmp_path, kept):
    (shard,) = write_scenes(tmp_path, "train", [scene("one"), scene("two")])
    shard.write_bytes(shard.read_bytes()[:kept])
    with pytest.raises(InputError, match=r"train-000000\.tar is (damaged|truncated)"):
        list(read_scenes(shard))


def test_a_shard_cut_between_two_scenes_is_truncated(tmp_path):
    (shard,) = write_scenes(tmp_path, "train", [scene("one"), scene("two")])
    data = shard.read_bytes()
    shard.write_bytes(data[: data.index(b"book/two/")])
    with pytest.raises(InputError, match="lacks a tar's end"):
        list(read_scenes(shard))


def test_a_missing_shard_is_named(tmp_path):
    with pytest.raises(InputError, match=r"no archive .*nowhere\.tar"):
        list(read_scenes(tmp_path / "nowhere.tar"))
