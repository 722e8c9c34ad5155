"""Dictionaries that numpy.save pickled: read without running what a file names, whatever it names."""

import io
import os
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.data.importers.object_arrays import LARGEST, read_object_dict

CAMERA = {"elevation": 30.0, "azimuth": 90, "radius": 1.5}


def saved(value: object) -> bytes:
    """What numpy.save writes of an object."""
    stream = io.BytesIO()
    np.save(stream, np.array(value, dtype=object), allow_pickle=True)
    return stream.getvalue()


def with_pickle(pickled: bytes) -> bytes:
    """The header of an object's file before a pickle of one's own."""
    header = "{'descr': '|O', 'fortran_order': False, 'shape': (), }".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + pickled


def test_a_camera_comes_back() -> None:
    stream = io.BytesIO()
    np.save(stream, CAMERA)
    assert read_object_dict(stream.getvalue()) == CAMERA


@pytest.mark.parametrize("protocol", [2, 3, 4])
@pytest.mark.parametrize("core", [b"numpy.core", b"numpy._core"])
def test_every_protocol_that_numpy_has_written_is_read(protocol: int, core: bytes) -> None:
    camera = {"elevation": np.float64(-12.5), "azimuth": np.float32(0.25), "radius": np.array(1.5), "name": "view"}
    pickled = pickle.dumps(np.array(camera, dtype=object), protocol)
    if protocol < 4:
        pickled = pickled.replace(b"numpy._core", core)
    found = read_object_dict(with_pickle(pickled))
    assert {**found, "radius": float(found["radius"])} == {
        "elevation": -12.5,
        "azimuth": 0.25,
        "radius": 1.5,
        "name": "view",
    }


@given(
    st.dictionaries(
        st.text(max_size=8),
        st.integers(-(2**40), 2**40) | st.floats(allow_nan=False) | st.text(max_size=8) | st.booleans(),
        max_size=6,
    )
)
def test_what_is_saved_is_what_is_read(values: dict[str, object]) -> None:
    assert read_object_dict(saved(values)) == values


def test_arrays_keep_shape_order_and_endianness() -> None:
    arrays = {
        "matrix": np.arange(6.0).reshape(2, 3),
        "columns": np.asfortranarray(np.arange(6, dtype=np.int16).reshape(2, 3)),
        "big": np.array([1.5, -2.0], dtype=">f4"),
    }
    found = read_object_dict(saved(arrays))
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)


class _Runs:
    """Unpickled, it would make a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_nothing_that_a_file_names_is_run(protocol: int, tmp_path: Path) -> None:
    proof = tmp_path / "ran"
    data = with_pickle(pickle.dumps({"elevation": _Runs(proof)}, protocol))
    with pytest.raises(ValueError, match=r"names (posix|nt)\.mkdir|opcode") as error:
        read_object_dict(data)
    assert "\n" not in str(error.value)
    assert not proof.exists()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "magic|EOF"),
        (b"\x93NUMPY", "magic|EOF"),
        (saved({"a": print}), "names builtins.print, and to load it would run it"),
        (saved(list(range(3))), r"shape \(3,\)"),
        (with_pickle(pickle.dumps([1, 2])), "no dictionary"),
        (with_pickle(pickle.dumps({1: 2})), "no dictionary by names"),
        (with_pickle(pickle.dumps({(1, 2): 2})), "no dictionary by names"),
        (with_pickle(pickle.dumps({"a": {1, 2}}, 4)), "opcode EMPTY_SET"),
        (with_pickle(pickle.dumps({"a": bytearray(3)}, 5)), "opcode BYTEARRAY8"),
        (with_pickle(pickle.dumps({"a": b"bytes"}, 4)), "a is neither text nor number"),
        (with_pickle(pickle.dumps({"a": {"b": 1}}, 4)), "a is neither text nor number"),
        (saved({"a": np.array(["text"])}), "type 'U4', which are no numbers"),
        (with_pickle(b"\x80\x02cnumpy\ndtype\n."), "no dictionary"),
        (with_pickle(b"\x80\x02cnumpy\ndtype\n}b."), "damaged"),
        (with_pickle(b"\x80\x04}u."), "damaged"),
        (with_pickle(b"\x80\x04}"), "damaged|exhausted"),
        (saved(CAMERA)[:-5], "damaged|exhausted"),
        (with_pickle(b"x" * LARGEST), "bytes, over"),
    ],
)
def test_what_is_no_dictionary_of_numbers_is_refused_in_one_line(data: bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words) as error:
        read_object_dict(data)
    assert "\n" not in str(error.value)


@given(st.data())
def test_damage_anywhere_gives_numbers_or_one_line(data: st.DataObject) -> None:
    camera = bytearray(saved({"elevation": np.float64(3.0), "matrix": np.eye(2), "name": "x"}))
    camera[data.draw(st.integers(0, len(camera) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = read_object_dict(bytes(camera))
    except ValueError:
        return
    assert all(isinstance(value, str | int | float | np.ndarray | None) for value in found.values())


def test_a_name_that_doubles_at_every_step_takes_no_time() -> None:
    """Sixty pairs, each of the one before twice: who walked through them would be at it for years."""
    pairs = b"".join(b"h" + bytes([n]) + b"h" + bytes([n]) + b"\x86q" + bytes([n + 1]) for n in range(60))
    with pytest.raises(ValueError, match="neither text nor number"):
        read_object_dict(with_pickle(b"\x80\x02}X\x01\x00\x00\x00a](K\x01q\x00" + pairs + b"es."))
