"""Whether COLMAP's binary files are whole: its own reader, at the end of one that was cut off, may read on until memory is full.

Each of them is a count and as many records, little-endian, of which some end in a list whose length they tell. `rigs.bin` and
`frames.bin` are there since version 3.12. Source: COLMAP `doc/format.rst` and `src/colmap/scene/reconstruction_io_binary.cc`.
"""

import struct
from collections.abc import Callable
from pathlib import Path

from stage.failures import FailureClass, ObjectFailedError

_COUNT, _SHORT_COUNT = struct.Struct("<Q"), struct.Struct("<I")
# A camera: id, model, width, height; its model tells how many numbers follow.
_CAMERA = struct.Struct("<IiQQ")
_NUMBER = 8
# An image: id, quaternion, translation, camera; then its name up to a zero, and points of two numbers and an id each.
_IMAGE, _POINT_OF_IMAGE = 64, 24
# A point: id, place, colour, error; then pairs of an image and a point of it.
_POINT, _PAIR = 43, 8
# A rig: id and how many sensors: the first one's type and id, of the others also whether a pose follows.
_RIG, _SENSOR, _POSE = struct.Struct("<II"), 8, 56
# A frame: id, rig, pose; then its pictures: type and id of the sensor, id of the picture.
_FRAME, _PICTURE = 64, 16


def check_whole(folder: Path, parameters_of: Callable[[int], int]) -> None:
    """Refuse a reconstruction whose binary files do not end where their records do; text is its reader's own affair.

    Args:
        folder: with the files.
        parameters_of: how many numbers the lens of a camera model has, given the model's id; raises ValueError for others.

    Raises:
        ObjectFailedError: naming the file.
    """

    def after_camera(data: bytes, start: int) -> int:
        model = _CAMERA.unpack_from(data, start)[1]
        return start + _CAMERA.size + _NUMBER * parameters_of(model)

    records = {
        "cameras": after_camera,
        "images": _after_image,
        "points3D": _after_point,
        "rigs": _after_rig,
        "frames": _after_frame,
    }
    for name, after in records.items():
        path = folder / f"{name}.bin"
        if path.is_file() and not _is_whole(path.read_bytes(), after):
            raise ObjectFailedError(FailureClass.PARSE, f"{path} is damaged: it does not end where its records do")


def _is_whole(data: bytes, after: Callable[[bytes, int], int]) -> bool:
    try:
        (count,) = _COUNT.unpack_from(data)
        end = _COUNT.size
        for _ in range(count):
            end = after(data, end)
    except (struct.error, ValueError, IndexError):
        return False
    return end == len(data)


def _after_image(data: bytes, start: int) -> int:
    return _after_list(data, data.index(b"\0", start + _IMAGE) + 1, _POINT_OF_IMAGE)


def _after_point(data: bytes, start: int) -> int:
    return _after_list(data, start + _POINT, _PAIR)


def _after_rig(data: bytes, start: int) -> int:
    _, sensors = _RIG.unpack_from(data, start)
    end = start + _RIG.size + (_SENSOR if sensors else 0)
    for _ in range(sensors - 1):
        end += _SENSOR + 1 + (_POSE if data[end + _SENSOR] else 0)
    return end


def _after_frame(data: bytes, start: int) -> int:
    return _after_list(data, start + _FRAME, _PICTURE, _SHORT_COUNT)


def _after_list(data: bytes, start: int, size: int, counted: struct.Struct = _COUNT) -> int:
    (count,) = counted.unpack_from(data, start)
    return start + counted.size + int(count) * size
