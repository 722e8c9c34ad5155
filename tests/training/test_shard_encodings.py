"""How views are stored: what an encoding keeps, what it loses, and what else a sample may hold."""

import hashlib
import io
import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from blender_render.passes import DEPTH_SCALE, save_depth
from blender_render.rendered_object import on_white, read_rgba
from blender_render.view_codecs import Encoding, decode_view, encode_view, resized, view_members, view_numbers
from evaluation.shards import TrainingShards
from stage.errors import InputError, ParameterError
from stage.files import folder_sha256, write_json
from stage.packs import object_folder, write_packs
from stage.parameters import validated
from stage.workspace import Workspace
from training.data.reader import ShardReader
from training.data.shard_parameters import ShardParameters
from training.data.verify import verify
from training.data.writer import write_shards

RenderBoxes = Callable[..., Workspace]
PICTURES = arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(4)))


@pytest.fixture(scope="session")
def boxes(render_boxes: RenderBoxes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render_boxes(tmp_path_factory.mktemp("encodings") / "boxes", train=2).root


@pytest.fixture
def workspace(boxes: Path, tmp_path: Path) -> Workspace:
    return Workspace(Path(shutil.copytree(boxes, tmp_path / "workspace")))


def members(workspace: Workspace, key: str) -> dict[str, bytes]:
    found = {}
    with tarfile.open(workspace.shards / "train-000000.tar") as archive:
        for member in archive:
            stream = archive.extractfile(member)
            if stream and member.name.startswith(f"{key}."):
                found[member.name.removeprefix(f"{key}.")] = stream.read()
    return found


def stored(rgba: np.ndarray, encoding: str) -> np.ndarray:
    encoded = encode_view(rgba, encoding)  # type: ignore[arg-type]
    return decode_view({f"007.{suffix}": data for suffix, data in encoded.items()}, 7)


@given(PICTURES)
@settings(max_examples=40, deadline=None)
@pytest.mark.parametrize("encoding", ["png", "webp"])
def test_lossless_encodings_keep_every_value(encoding: str, rgba: np.ndarray) -> None:
    np.testing.assert_array_equal(stored(rgba, encoding), rgba)


@given(PICTURES)
@settings(max_examples=40, deadline=None)
def test_jpeg_keeps_alpha_exactly(rgba: np.ndarray) -> None:
    np.testing.assert_array_equal(stored(rgba, "jpeg_alpha")[..., 3], rgba[..., 3])


def test_jpeg_is_near_on_white_and_on_black_and_holds_the_white_composite() -> None:
    y, x = np.mgrid[:64, :64] / 63
    alpha = np.clip(4 * (0.4 - np.hypot(x - 0.5, y - 0.5)) * 255, 0, 255)
    rgba = np.stack([255 * x, 255 * y, 255 * (1 - x), alpha], axis=-1).astype(np.uint8)
    read = stored(rgba, "jpeg_alpha")
    assert np.abs(on_white(read) - on_white(rgba)).max() < 0.03
    black, expected = (picture[..., :3] / 255 * picture[..., 3:] / 255 for picture in (read, rgba))
    assert np.abs(black - expected).max() < 0.03
    with Image.open(io.BytesIO(encode_view(rgba, "jpeg_alpha")["jpg"])) as colour:
        assert np.abs(np.asarray(colour) / 255 - on_white(rgba)).max() < 0.03


@given(arrays(np.uint8, (12, 12, 4)), st.sampled_from([1, 2, 3, 4, 6]))
@settings(max_examples=40, deadline=None)
def test_the_composite_of_a_smaller_picture_is_the_average_of_composites(rgba: np.ndarray, size: int) -> None:
    block = 12 // size
    expected = on_white(rgba).reshape(size, block, size, block, 3).mean(axis=(1, 3))
    # Rounding of alpha and of straight colour, a step of 255 between them.
    assert np.abs(on_white(resized(rgba, size)) - expected).max() <= 1.01 / 255


def test_a_picture_of_the_size_asked_for_stays_as_it_is() -> None:
    rgba = np.random.default_rng(0).integers(0, 256, (5, 5, 4), dtype=np.uint8)
    assert resized(rgba, 5) is rgba
    with pytest.raises(ValueError, match="5×5 pixels cannot be made 6×6"):
        resized(rgba, 6)


def test_only_views_are_views() -> None:
    names = [
        "001.png",
        "000.jpg",
        "000.alpha.png",
        "000.depth.png",
        "cameras.json",
        "002.webp",
        "splatter.safetensors",
    ]
    assert view_numbers(names) == [0, 1, 2]


@pytest.mark.parametrize("encoding", ["png", "webp", "jpeg_alpha"])
def test_both_readers_read_every_encoding(workspace: Workspace, encoding: str) -> None:
    rows = write_shards(ShardParameters(encoding=encoding), workspace)  # type: ignore[arg-type]
    assert [row.views for row in rows] == [4, 4]
    rgba = ShardReader(workspace.shards, "train")[0].rgba
    np.testing.assert_array_equal(TrainingShards(workspace.shards).rgba("00train"), rgba)
    folder = object_folder(workspace.scratch / "renders", "00train")
    expected = np.stack([read_rgba(folder, number) for number in range(4)])
    np.testing.assert_array_equal(rgba[..., 3], expected[..., 3])
    if encoding != "jpeg_alpha":
        np.testing.assert_array_equal(rgba, expected)
    assert verify(workspace.shards).damages == []


def test_smaller_pictures_have_smaller_intrinsics(workspace: Workspace) -> None:
    write_shards(ShardParameters(), workspace)
    before = json.loads(members(workspace, "00train")["cameras.json"])["intrinsics"]
    write_shards(ShardParameters(encoding="webp", size=8), workspace)
    found = members(workspace, "00train")
    after = json.loads(found["cameras.json"])["intrinsics"]
    assert after == {**{key: before[key] / 2 for key in ("fx", "fy", "cx", "cy")}, "width": 8, "height": 8}
    assert ShardReader(workspace.shards, "train")[0].rgba.shape == (4, 8, 8, 4)
    expected = resized(read_rgba(object_folder(workspace.scratch / "renders", "00train"), 2), 8)
    np.testing.assert_array_equal(decode_view(found, 2), expected)


def test_larger_pictures_than_rendered_are_refused(workspace: Workspace) -> None:
    with pytest.raises(InputError, match=r"view 0 of 00train: 16×16 pixels cannot be made 32×32; lower shard\.size"):
        write_shards(ShardParameters(encoding="png", size=32), workspace)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"size": 8}, "size needs an encoding"),
        ({"encoding": "webp", "size": 8, "include": ["depth"]}, "depth is kept as rendered"),
        ({"encoding": "gif"}, "shard.encoding"),
        ({"include": ["normal"]}, "shard.include"),
    ],
)
def test_parameters_that_do_not_go_together_are_refused(values: dict[str, object], words: str) -> None:
    with pytest.raises(ParameterError, match=words):
        validated(ShardParameters, values, "params.yaml: shard")


def test_the_number_of_workers_is_no_part_of_the_recipe_and_quality_only_of_jpeg() -> None:
    plain = ShardParameters().recipe()
    assert ShardParameters(workers=3, quality=50).recipe() == plain
    assert ShardParameters(max_bytes=2048).recipe() != plain
    jpeg = ShardParameters(encoding="jpeg_alpha")
    assert jpeg.recipe() != ShardParameters(encoding="jpeg_alpha", quality=50).recipe()


def test_depth_is_included_as_rendered_and_readers_leave_it_alone(workspace: Workspace) -> None:
    write_shards(ShardParameters(), workspace)
    plain = ShardReader(workspace.shards, "train")[1].rgba
    for number in range(4):
        for key in ("00train", "01train"):
            folder = object_folder(workspace.scratch / "renders", key)
            save_depth(folder / f"{number:03d}_depth.png", np.full((16, 16), 1.0 + number))
    write_shards(ShardParameters(include=("depth",)), workspace)
    found = members(workspace, "01train")
    folder = object_folder(workspace.scratch / "renders", "01train")
    assert found["003.depth.png"] == (folder / "003_depth.png").read_bytes()
    assert json.loads(found["cameras.json"])["depth_scale"] == DEPTH_SCALE
    np.testing.assert_array_equal(ShardReader(workspace.shards, "train")[1].rgba, plain)
    np.testing.assert_array_equal(TrainingShards(workspace.shards).rgba("01train"), plain)
    assert verify(workspace.shards).damages == []


def test_depth_that_was_not_rendered_is_named(workspace: Workspace) -> None:
    with pytest.raises(InputError, match=r"00train has no depth picture 000_depth\.png; add depth to render\.passes"):
        write_shards(ShardParameters(include=("depth",)), workspace)


def _publish_splatter(workspace: Workspace, root: Path, fingerprint: str) -> None:
    folder = object_folder(root, "01train")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "splatter.safetensors").write_bytes(f"Gaussians of {fingerprint}".encode())
    write_json(folder / "record.json", {"fingerprint": fingerprint})
    workspace.splatters.mkdir(parents=True, exist_ok=True)
    write_packs(root, ["01train"], workspace.splatters, 4)


def test_splatter_images_are_included_where_there_are_some(workspace: Workspace, tmp_path: Path) -> None:
    parameters = ShardParameters(include=("splatter",))
    with pytest.raises(InputError, match="no splatter images"):
        write_shards(parameters, workspace)
    _publish_splatter(workspace, tmp_path / "splatters", "first")
    write_shards(parameters, workspace)
    assert members(workspace, "01train")["splatter.safetensors"] == b"Gaussians of first"
    assert "splatter.safetensors" not in members(workspace, "00train")
    assert ShardReader(workspace.shards, "train")[1].rgba.shape == (4, 16, 16, 4)
    before = folder_sha256(workspace.shards)
    assert len(write_shards(parameters, workspace)) == 2
    assert folder_sha256(workspace.shards) == before
    _publish_splatter(workspace, tmp_path / "splatters", "second")
    rows = {row.key: row.shard for row in write_shards(parameters, workspace)}
    assert rows == {"00train": "train-000000.tar", "01train": "train-000001.tar"}


@pytest.mark.parametrize("encoding", ["png", "webp", "jpeg_alpha"])
def test_what_is_needed_of_a_view_is_what_is_decoded(encoding: str) -> None:
    rgba = np.random.default_rng(0).integers(0, 256, (4, 4, 4), dtype=np.uint8)
    members = {f"007.{name}": data for name, data in encode_view(rgba, encoding).items()}  # type: ignore[arg-type]
    others = {"cameras.json": b"{}", "007.depth.png": b"", "006.png": b""}
    assert sorted(view_members([*others, *members], 7)) == sorted(members)
    np.testing.assert_array_equal(decode_view(members, 7), decode_view(others | members, 7))


@pytest.mark.parametrize("side", [1, 64, 2100])
def test_pixels_are_the_same_however_they_lie_in_memory(side: int) -> None:
    """A picture of more than 16 MB is in several pieces."""
    rgba = np.zeros((side, side, 4), np.uint8)
    rgba[::7, ::5] = np.random.default_rng(0).integers(0, 256, rgba[::7, ::5].shape, dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(rgba).save(stream, "PNG", compress_level=1)
    np.testing.assert_array_equal(decode_view({"000.png": stream.getvalue()}, 0), rgba)


def test_a_picture_of_another_format_is_one_line() -> None:
    webp = encode_view(np.zeros((2, 2, 4), np.uint8), "webp")["webp"]
    with pytest.raises(ValueError, match=r"^000\.png is no PNG$"):
        decode_view({"000.png": webp}, 0)


@pytest.mark.parametrize("encoding", ["png", "webp"])
def test_a_picture_is_decoded_where_it_is_to_lie(encoding: Encoding) -> None:
    rgba = np.random.default_rng(0).integers(0, 256, (9, 7, 4), dtype=np.uint8)
    members = {f"000.{suffix}": data for suffix, data in encode_view(rgba, encoding).items()}
    places = np.full((3, 9, 7, 4), 5, dtype=np.uint8)
    asked: list[tuple[int, ...]] = []
    picture = decode_view(members, 0, lambda shape: asked.append(shape) or places[1])
    assert asked == [(9, 7, 4)]
    assert np.shares_memory(picture, places[1]), "Pillow decodes it there, and nothing is copied"
    np.testing.assert_array_equal(places[1], rgba)
    assert (places[[0, 2]] == 5).all(), "beside it nothing is written"


def test_a_picture_of_another_kind_is_not_decoded_into_the_room() -> None:
    grey = np.arange(12, dtype=np.uint8).reshape(3, 4)
    stream = io.BytesIO()
    Image.fromarray(grey).save(stream, "PNG")
    room = np.zeros((3, 4, 4), dtype=np.uint8)
    picture = decode_view({"000.png": stream.getvalue()}, 0, lambda _: room)
    np.testing.assert_array_equal(picture[..., 1], grey)
    assert not np.shares_memory(picture, room)
    assert not room.any()


_OF_FORMAT = {
    "png": "b01a3d8a977371f89d3b251f5d0dd6599c16953021f721f477512267f0424543",
    "webp": "b01a3d8a977371f89d3b251f5d0dd6599c16953021f721f477512267f0424543",
    "jpeg_alpha": "929fcd03ce890b4f6c27ecef6862c63802332217dc907de084fc75fce4c533cc",
    "depth": "fbf3520a56e6ca537c89e38577b900341579113460248c89517ad1357d936c5b",
}


@pytest.mark.parametrize("kind", _OF_FORMAT)
def test_what_becomes_of_pictures_and_depth_is_of_their_formats(workspace: Workspace, kind: str) -> None:
    """A set that is there stays when code changes: code that gives other values raises the format's number.

    Whoever changes a sum raises `training.data.shard_parameters._FORMAT`, or `_DEPTH_FORMAT`, too. Of a codec with losses only
    alpha counts here, as its bytes are the library's.
    """
    folder = object_folder(workspace.scratch / "renders", "00train")
    steps = np.arange(16 * 16 * 4, dtype=np.uint32).reshape(16, 16, 4)
    for number in range(4):
        picture = (steps * (number + 7) % 251).astype(np.uint8)
        Image.fromarray(picture).save(folder / f"{number:03d}.png")
        for key in ("00train", "01train"):
            depth = 1.0 + number + np.arange(256.0).reshape(16, 16) / 256
            save_depth(object_folder(workspace.scratch / "renders", key) / f"{number:03d}_depth.png", depth)
    if kind == "depth":
        write_shards(ShardParameters(include=("depth",)), workspace)
        cameras = json.loads(members(workspace, "00train")["cameras.json"])
        assert cameras.keys() > {"c2w", "intrinsics", "depth_scale"}
        told = json.dumps({name: value for name, value in cameras.items() if name not in ("c2w", "intrinsics")})
        digest = hashlib.sha256(told.encode())
    else:
        write_shards(ShardParameters(encoding=kind, size=8), workspace)  # type: ignore[arg-type]
        rgba = ShardReader(workspace.shards, "train")[0].rgba
        digest = hashlib.sha256((rgba[..., 3] if kind == "jpeg_alpha" else rgba).tobytes())
    assert digest.hexdigest() == _OF_FORMAT[kind]
