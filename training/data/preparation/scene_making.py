"""A scene of a source, made into the files of a shard; what cannot be used is told and not raised."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8

from stage.errors import InputError
from stage.failures import FailureClass, ObjectFailedError
from training.data.preparation.framing import NARROWEST, PUBLISHED_SIDE, Framing, wide_enough
from training.data.preparation.source_scenes import LeftOut, OpenedScene, SourceFrame, SourceScene
from training.data.zeronvs_cameras import CameraForm
from training.data.zeronvs_layout import EncodedScene, Scene, encode_scene

Densify = Callable[[UInt8[np.ndarray, "h w 3"], Float[np.ndarray, "h w"]], Float[np.ndarray, "h w"]]
"""Depth of every pixel from a picture, as it will be stored, and the depth that is known of it, 0 where it is not."""

# A pair needs as many.
_FEWEST = 2


@dataclass(frozen=True)
class Making:
    """How scenes are made."""

    side: int = PUBLISHED_SIDE
    """Shorter side of the pictures, pixels."""
    form: CameraForm = "co3d"
    """Which of ZeroNVS's loaders is to read them; that of RealEstate10K gets no picture wider than high."""
    densify: Densify | None = None
    """Fills up each frame's depth; None stores what is known. Other processes must be able to import it."""


@dataclass(frozen=True)
class MadeScene:
    """What became of a scene."""

    key: str
    split: str
    files: EncodedScene | None
    """None where it cannot be used."""
    frames: int = 0
    width: int = 0
    height: int = 0
    known_depth: float = 0.0
    """Share of all pixels whose depth is known."""
    left_out: tuple[LeftOut, ...] = ()
    failure: str = ""
    """Class of the reason why it cannot be used."""
    message: str = ""


def make_scene(source: SourceScene, split: str, making: Making) -> MadeScene:
    """A scene cut, resized and encoded."""
    left_out: list[LeftOut] = []
    try:
        scene = framed_scene(source, making, left_out)
        files = encode_scene(scene, making.form)
    except (ObjectFailedError, InputError) as error:
        failure = error.failure if isinstance(error, ObjectFailedError) else FailureClass.PARSE
        return MadeScene(source.key, split, None, left_out=(*left_out,), failure=failure, message=str(error))
    count, height, width = scene.depth.shape
    known = float((scene.depth > 0).mean())
    return MadeScene(source.key, split, files, count, width, height, known, (*left_out,))


def framed_scene(source: SourceScene, making: Making, left_out: list[LeftOut]) -> Scene:
    """A scene whose pictures have one size and one lens.

    Args:
        source: the scene.
        making: how.
        left_out: receives the frames that cannot be used.

    Raises:
        ObjectFailedError: when fewer than two frames can.
        InputError: when it is not there.
    """
    opened = source.open()
    left_out += opened.left_out
    frames = _of_a_width(opened, left_out)
    framing = Framing.of([frame.lens for frame in frames], making.side, tall=making.form == "re10k")
    done: list[tuple[SourceFrame, UInt8[np.ndarray, "h w 3"], Float[np.ndarray, "h w"]]] = []
    for frame in frames:
        try:
            done.append((frame, *_framed(frame, framing, making.densify)))
        except (ValueError, OSError) as error:
            left_out.append(LeftOut(frame.name, _line(error)))
    _check_count(done, left_out)
    used, pictures, depths = zip(*done, strict=True)
    c2w = np.stack([frame.c2w for frame in used])
    return Scene(source.category, source.name, np.stack(pictures), c2w, (framing.lens,) * len(used), np.stack(depths))


def _of_a_width(opened: OpenedScene, left_out: list[LeftOut]) -> list[SourceFrame]:
    """The frames that show enough of what the others do."""
    _check_count(opened.frames, left_out)
    wide = wide_enough([frame.lens for frame in opened.frames])
    narrow = (frame for frame, enough in zip(opened.frames, wide, strict=True) if not enough)
    why = f"around its principal point it shows less than {NARROWEST:.0%} of what the scene's frames do"
    left_out += (LeftOut(frame.name, why) for frame in narrow)
    return [frame for frame, enough in zip(opened.frames, wide, strict=True) if enough]


def _framed(
    frame: SourceFrame, framing: Framing, densify: Densify | None
) -> tuple[UInt8[np.ndarray, "h w 3"], Float[np.ndarray, "h w"]]:
    loaded = frame.load()
    picture, depth = framing.picture(loaded.picture, frame.lens), framing.depth(loaded.depth, frame.lens)
    return picture, densify(picture, depth) if densify else depth


def _check_count(frames: Sequence[object], left_out: list[LeftOut]) -> None:
    if len(frames) < _FEWEST:
        first = f"; {left_out[0].frame}: {left_out[0].why}" if left_out else ""
        raise ObjectFailedError(FailureClass.MISSING, f"{len(frames)} frames can be used, two are needed{first}")


def _line(error: ValueError | OSError) -> str:
    """An error in one line; a file that is not there by its name."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}"
    return str(error).partition("\n")[0]
