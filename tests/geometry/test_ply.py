"""The PLY layout: bytes checked without plyfile, round trips, files of other writers, and each kind of damage."""

import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geometry.gaussians import Gaussians
from geometry.ply import PROPERTIES, read_ply, write_ply
from stage.errors import InputError

COUNT = 5
NAMES = ["x", "y", "z", "f_dc_0", "f_dc_1", "f_dc_2", "opacity"]
NAMES += ["scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"]


def some(count: int = COUNT, seed: int = 0) -> Gaussians:
    rng = np.random.default_rng(seed)
    return Gaussians(
        means=rng.normal(size=(count, 3)) * 10.0 ** rng.uniform(-3, 3, (count, 1)),
        quaternions=rng.normal(size=(count, 4)),
        scales=10.0 ** rng.uniform(-8, 2, (count, 3)),
        opacities=rng.uniform(size=count),
        colours=rng.uniform(size=(count, 3)),
    )


@pytest.fixture
def path(tmp_path) -> Path:
    written = tmp_path / "splatter_0.ply"
    write_ply(written, some())
    return written


def header(names: list[str], count: int, form: str = "binary_little_endian") -> bytes:
    lines = ["ply", f"format {form} 1.0", f"element vertex {count}", *[f"property float {n}" for n in names]]
    return ("\n".join([*lines, "end_header"]) + "\n").encode()


def poke(path: Path, name: str, row: int, value: float) -> None:
    """Overwrite one number of a file in our layout."""
    data = bytearray(path.read_bytes())
    start = len(header(NAMES, COUNT)) + 4 * (row * len(NAMES) + NAMES.index(name))
    data[start : start + 4] = struct.pack("<f", value)
    path.write_bytes(data)


def test_header_and_first_record_by_hand(tmp_path):
    one = Gaussians(
        means=np.array([[1.0, -2.0, 3.0]]),
        quaternions=np.array([[0.5, 0.5, -0.5, 0.5]]),
        scales=np.array([[1.0, np.e, 0.01]]),
        opacities=np.array([0.75]),
        colours=np.array([[0.5, 1.0, 0.0]]),
    )
    write_ply(tmp_path / "one.ply", one)
    data = (tmp_path / "one.ply").read_bytes()
    expected_header = header(NAMES, 1)
    assert data.startswith(expected_header)
    record = struct.unpack("<14f", data[len(expected_header) :])
    position, colour, opacity = (1.0, -2.0, 3.0), (0.0, 1.7724539, -1.7724539), (np.log(3.0),)
    scale, rotation = (0.0, 1.0, np.log(0.01)), (0.5, 0.5, -0.5, 0.5)
    np.testing.assert_allclose(record, position + colour + opacity + scale + rotation, rtol=1e-6, atol=1e-7)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 40), st.integers(0, 2**32 - 1))
def test_round_trip(tmp_path_factory, count, seed):
    gaussians, path = some(count, seed), tmp_path_factory.mktemp("ply") / "g.ply"
    write_ply(path, gaussians)
    back = read_ply(path)
    assert len(back) == count
    np.testing.assert_array_equal(back.means, gaussians.means)
    np.testing.assert_array_equal(back.quaternions, gaussians.quaternions)
    np.testing.assert_allclose(back.scales, gaussians.scales, rtol=3e-6)
    np.testing.assert_allclose(back.opacities, gaussians.opacities, atol=2e-6)
    np.testing.assert_allclose(back.colours, gaussians.colours, atol=2e-7)


def test_the_same_gaussians_give_the_same_bytes_and_no_leftovers(path):
    again = path.with_name("again.ply")
    write_ply(again, some())
    assert again.read_bytes() == path.read_bytes()
    assert sorted(p.name for p in path.parent.iterdir()) == ["again.ply", "splatter_0.ply"]


def test_opacities_of_0_and_1_stay_finite_and_in_place(tmp_path):
    gaussians = some(2)
    ends = Gaussians(gaussians.means, gaussians.quaternions, gaussians.scales, np.array([0.0, 1.0]), gaussians.colours)
    write_ply(tmp_path / "ends.ply", ends)
    np.testing.assert_allclose(read_ply(tmp_path / "ends.ply").opacities, [0.0, 1.0], atol=2e-6)


def test_the_original_layout_with_normals_harmonics_and_big_endian_is_read(tmp_path):
    rest = [f"f_rest_{i}" for i in range(9)]
    names = [*NAMES[:3], "nx", "ny", "nz", *NAMES[3:6], *rest, *NAMES[6:]]
    values = dict.fromkeys(names, 0.0) | {"x": 4.0, "f_dc_0": 9.0, "rot_0": 2.0, "opacity": -1.0, "nx": 7.0}
    form = "binary_big_endian"
    path = tmp_path / "point_cloud.ply"
    path.write_bytes(header(names, 1, form) + struct.pack(f">{len(names)}f", *values.values()))
    gaussians = read_ply(path)
    assert gaussians.means.tolist() == [[4.0, 0.0, 0.0]]
    assert gaussians.colours.tolist() == [[1.0, 0.5, 0.5]]
    assert gaussians.quaternions.tolist() == [[1.0, 0.0, 0.0, 0.0]]
    assert gaussians.opacities[0] == pytest.approx(1 / (1 + np.e))


@pytest.mark.parametrize("name", PROPERTIES)
def test_a_missing_property_is_named(tmp_path, name):
    names = [n for n in NAMES if n != name]
    path = tmp_path / "less.ply"
    path.write_bytes(header(names, 1) + struct.pack("<13f", *[1.0] * 13))
    with pytest.raises(InputError, match=rf"less\.ply: property {name} is missing"):
        read_ply(path)


@pytest.mark.parametrize("name", ["z", "f_dc_1", "opacity", "scale_2", "rot_3"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_value_that_is_not_finite_is_named(path, name, value):
    poke(path, name, 3, value)
    with pytest.raises(InputError, match=rf"splatter_0\.ply: property {name} is not finite in 1 rows, first in row 3"):
        read_ply(path)


@pytest.mark.parametrize("log_scale", [1000.0, -1000.0])
def test_a_scale_beyond_float32_is_refused(path, log_scale):
    poke(path, "scale_1", 0, log_scale)
    with pytest.raises(InputError, match=r"splatter_0\.ply: Gaussians: scales is not (finite|positive)"):
        read_ply(path)


def test_a_quaternion_of_zeros_is_refused(path):
    for name in NAMES[-4:]:
        poke(path, name, 2, 0.0)
    with pytest.raises(InputError, match=r"splatter_0\.ply: Gaussians: quaternions has no length"):
        read_ply(path)


@pytest.mark.parametrize("kept", [0, 10, 100, -1, -57])
def test_a_file_cut_short_is_refused(path, kept):
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(InputError, match=r"splatter_0\.ply: unreadable as PLY"):
        read_ply(path)


@pytest.mark.parametrize("content", [b"\x89PNG\r\n\x1a\n\xff\xfe", b"<html>not found</html>\n", b"ply\nformat \xff\n"])
def test_another_kind_of_file_is_refused(path, content):
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"splatter_0\.ply: unreadable as PLY"):
        read_ply(path)


def test_a_file_without_vertices_is_refused(path):
    path.write_bytes(header(NAMES, 0).replace(b"vertex", b"face"))
    with pytest.raises(InputError, match="element vertex is missing"):
        read_ply(path)


def test_a_list_where_a_number_belongs_is_refused(path):
    lists = header(["x"], 1).replace(b"property float x", b"property list uchar float x")
    path.write_bytes(lists + struct.pack("<Bf", 1, 2.0))
    with pytest.raises(InputError, match="property x is a list"):
        read_ply(path)


def test_an_absent_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"absent\.ply: no such file"):
        read_ply(tmp_path / "absent.ply")
