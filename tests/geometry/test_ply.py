"""The PLY layout: bytes checked without plyfile, round trips, files of other writers, and each kind of damage."""

import struct
from pathlib import Path

import numpy as np
import pytest
from gaussian_samples import some
from hypothesis import given, settings
from hypothesis import strategies as st

from geometry.gaussians import Gaussians
from geometry.ply import PROPERTIES, read_ply, write_ply
from stage.errors import InputError

COUNT = 5
NAMES = ["x", "y", "z", "f_dc_0", "f_dc_1", "f_dc_2", "opacity"]
NAMES += ["scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"]


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


def test_both_layouts_by_hand_with_harmonics(tmp_path):
    # f_rest is all of red, then green, then blue: coefficient i of channel c is 10·c + i here.
    harmonics = (10.0 * np.arange(3)[None, :] + np.arange(3)[:, None])[None]
    one = Gaussians(
        means=np.array([[1.0, 2.0, 3.0]]),
        quaternions=np.array([[1.0, 0.0, 0.0, 0.0]]),
        scales=np.ones((1, 3)),
        opacities=np.array([0.5]),
        colours=np.full((1, 3), 0.5),
        harmonics=harmonics,
    )
    rest = [0.0, 1.0, 2.0, 10.0, 11.0, 12.0, 20.0, 21.0, 22.0]
    rest_names = [f"f_rest_{i}" for i in range(9)]
    tail = [*[0.0] * 3, *rest, 0.0, *[0.0] * 3, 1.0, 0.0, 0.0, 0.0]
    write_ply(tmp_path / "compact.ply", one)
    names = [*NAMES[:6], *rest_names, *NAMES[6:]]
    assert (tmp_path / "compact.ply").read_bytes() == header(names, 1) + struct.pack("<23f", 1, 2, 3, *tail)
    write_ply(tmp_path / "inria.ply", one, layout="inria")
    names[3:3] = ["nx", "ny", "nz"]
    assert (tmp_path / "inria.ply").read_bytes() == header(names, 1) + struct.pack("<26f", 1, 2, 3, 0, 0, 0, *tail)
    for layout in ("compact", "inria"):
        np.testing.assert_array_equal(read_ply(tmp_path / f"{layout}.ply").harmonics, harmonics)


@pytest.mark.parametrize("layout", ["compact", "inria"])
@settings(max_examples=20, deadline=None)
@given(st.integers(0, 40), st.integers(0, 2**32 - 1), st.sampled_from([0, 1, 2, 3]))
def test_round_trip(tmp_path_factory, layout, count, seed, degree):
    gaussians, path = some(count, seed, degree), tmp_path_factory.mktemp("ply") / "g.ply"
    write_ply(path, gaussians, layout)
    back = read_ply(path)
    assert len(back) == count
    np.testing.assert_array_equal(back.means, gaussians.means)
    np.testing.assert_array_equal(back.quaternions, gaussians.quaternions)
    np.testing.assert_array_equal(back.harmonics, gaussians.harmonics)
    # A logarithm below 32 in size is rounded to 2⁻²⁰ at most, and the result to 2⁻²⁴.
    np.testing.assert_allclose(back.scales, gaussians.scales, rtol=2.0**-20 + 2.0**-23)
    # Clamping, or rounding of a logit below 16 to 2⁻²¹ times a slope of at most 1/4.
    np.testing.assert_allclose(back.opacities, gaussians.opacities, atol=2.0**-20)
    # An f_dc below 16 is rounded to 2⁻²¹, times C₀, and the result to 2⁻²³.
    np.testing.assert_allclose(back.colours, gaussians.colours, atol=0.2821 * 2.0**-21 + 2.0**-23)
    again = path.with_name("again.ply")
    write_ply(again, back, layout)
    assert again.read_bytes() == path.read_bytes()


FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)


@settings(max_examples=80, deadline=None)
@given(
    st.tuples(FLOATS, FLOATS, FLOATS),
    st.floats(0.0, 1.0, width=32),
    st.floats(-1e4, 1e4, width=32),
    st.floats(float(np.float32(1e-44)), float(np.float32(1e38)), width=32, exclude_min=True, exclude_max=True),
)
def test_what_was_read_is_written_as_the_same_bytes(tmp_path_factory, mean, opacity, colour, scale):
    folder = tmp_path_factory.mktemp("ply")
    ends = {"means": np.array([mean]), "opacities": np.array([opacity])}
    write_ply(folder / "a.ply", some(1, colours=np.full((1, 3), colour), scales=np.full((1, 3), scale), **ends))
    write_ply(folder / "b.ply", read_ply(folder / "a.ply"))
    assert (folder / "a.ply").read_bytes() == (folder / "b.ply").read_bytes()


def test_the_same_gaussians_give_the_same_bytes_and_no_leftovers(path):
    again = path.with_name("again.ply")
    write_ply(again, some())
    assert again.read_bytes() == path.read_bytes()
    assert sorted(p.name for p in path.parent.iterdir()) == ["again.ply", "splatter_0.ply"]


def test_opacities_of_0_and_1_stay_finite_and_in_place(tmp_path):
    write_ply(tmp_path / "ends.ply", some(2, opacities=np.array([0.0, 1.0])))
    ends = read_ply(tmp_path / "ends.ply").opacities
    np.testing.assert_allclose(ends, [2.0**-20, 1.0 - 2.0**-20], rtol=2.0**-23)


def test_another_order_with_normals_harmonics_and_big_endian_is_read(tmp_path):
    rest = [f"f_rest_{i}" for i in range(9)]
    names = [*rest[::-1], *NAMES[::-1], "nx", "ny", "nz", "filter_3D"]
    values = dict.fromkeys(names, 0.0) | {"x": 4.0, "f_dc_0": 9.0, "rot_0": 2.0, "opacity": -1.0, "nx": 7.0}
    values |= {"f_rest_1": 5.0, "f_rest_6": 6.0}
    form = "binary_big_endian"
    path = tmp_path / "point_cloud.ply"
    path.write_bytes(header(names, 1, form) + struct.pack(f">{len(names)}f", *values.values()))
    gaussians = read_ply(path)
    assert gaussians.means.tolist() == [[4.0, 0.0, 0.0]]
    np.testing.assert_allclose(gaussians.colours, [[0.5 + 9.0 * 0.28209479, 0.5, 0.5]], rtol=1e-6)
    assert gaussians.quaternions.tolist() == [[1.0, 0.0, 0.0, 0.0]]
    assert gaussians.opacities[0] == pytest.approx(1 / (1 + np.e))
    np.testing.assert_array_equal(gaussians.harmonics[0], [[0.0, 0.0, 6.0], [5.0, 0.0, 0.0], [0.0, 0.0, 0.0]])


def text_file(path: Path, rows: int) -> None:
    row = " ".join(["1"] * 13 + ["0"])
    path.write_bytes(header(NAMES, 2, "ascii") + "".join(f"{row}\n" for _ in range(rows)).encode())


def test_a_text_file_is_read(tmp_path):
    text_file(tmp_path / "text.ply", 2)
    gaussians = read_ply(tmp_path / "text.ply")
    np.testing.assert_allclose(gaussians.scales, np.full((2, 3), np.e), rtol=1e-6)


@pytest.mark.parametrize(("rows", "message"), [(1, "row 1: early end-of-file"), (3, "1 lines are left behind")])
def test_a_text_file_of_another_count_is_refused(tmp_path, rows, message):
    text_file(tmp_path / "text.ply", rows)
    with pytest.raises(InputError, match=rf"text\.ply: unreadable as PLY \(.*{message}"):
        read_ply(tmp_path / "text.ply")


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
    poke(path, "scale_1", 4, log_scale)
    message = r"splatter_0\.ply: property scale_1 is no logarithm of a float32 scale in 1 rows, first in row 4"
    with pytest.raises(InputError, match=message):
        read_ply(path)


def test_a_quaternion_of_zeros_is_refused(path):
    for name in NAMES[-4:]:
        poke(path, name, 2, 0.0)
    message = r"splatter_0\.ply: properties rot_0 to rot_3 are all zero in 1 rows, first in row 2"
    with pytest.raises(InputError, match=message):
        read_ply(path)


def test_a_double_beyond_float32_is_refused(tmp_path):
    path = tmp_path / "doubles.ply"
    lines = header(NAMES, 1).replace(b"property float", b"property double")
    path.write_bytes(lines + struct.pack("<14d", 1.0, 1e300, *[1.0] * 12))
    with pytest.raises(InputError, match=r"doubles\.ply: property y is not finite in 1 rows, first in row 0"):
        read_ply(path)


@pytest.mark.parametrize("count", [1, 8, 10, 48])
def test_a_number_of_harmonics_that_no_degree_has_is_refused(tmp_path, count):
    names = [*NAMES, *[f"f_rest_{i}" for i in range(count)]]
    path = tmp_path / "rest.ply"
    path.write_bytes(header(names, 1) + struct.pack(f"<{len(names)}f", *[1.0] * len(names)))
    with pytest.raises(
        InputError, match=rf"rest\.ply: {count} properties f_rest_\* where a degree has 0, 9, 24 or 45"
    ):
        read_ply(path)


def test_a_gap_in_the_harmonics_is_named(tmp_path):
    names = [*NAMES, *[f"f_rest_{i}" for i in range(10) if i != 4]]
    path = tmp_path / "gap.ply"
    path.write_bytes(header(names, 1) + struct.pack("<23f", *[1.0] * 23))
    with pytest.raises(InputError, match=r"gap\.ply: property f_rest_4 is missing"):
        read_ply(path)


def test_a_file_longer_than_its_header_says_is_refused(path):
    path.write_bytes(path.read_bytes() + bytes(56))
    message = r"splatter_0\.ply: unreadable as PLY \(56 bytes are left behind the header's rows: 5 of element vertex"
    with pytest.raises(InputError, match=message):
        read_ply(path)


@pytest.mark.parametrize(("count", "message"), [(6, "row 5: early end-of-file"), (4, "56 bytes are left"), (-1, "")])
def test_a_header_that_counts_wrongly_is_refused(path, count, message):
    path.write_bytes(path.read_bytes().replace(b"vertex 5", b"vertex %d" % count))
    with pytest.raises(InputError, match=rf"splatter_0\.ply: unreadable as PLY \(.*{message}"):
        read_ply(path)


@pytest.mark.parametrize(
    ("line", "changed", "complaint"),
    [
        (b"format binary_little_endian 1.0", b"format middle_endian 1.0", "line 2: don't understand format"),
        (b"vertex 5", b"vertex five", "line 3: expected integer count"),
        (b"vertex 5", b"vertex 9999999999999999999999", ""),
        (b"property float z", b"property quaternion z", "line 6"),
        (b"property float z", b"property float y", "two properties with same name"),
        (b"end_header", b"end_heade", ""),
    ],
)
def test_a_corrupt_header_is_refused(path, line, changed, complaint):
    path.write_bytes(path.read_bytes().replace(line, changed))
    with pytest.raises(InputError, match=rf"splatter_0\.ply: unreadable as PLY \(.*{complaint}"):
        read_ply(path)


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_whatever_is_damaged_the_error_is_ours(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("ply") / "damaged.ply"
    write_ply(path, some(3, degree=1))
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    complaint = complaint_about(path)
    assert complaint is None or ("damaged.ply" in complaint and "\n" not in complaint)


def complaint_about(path: Path) -> str | None:
    """What reading a file complains of; it must not raise anything else."""
    try:
        read_ply(path)
    except InputError as error:
        return str(error)
    return None


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
