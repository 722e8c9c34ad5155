"""The whole way of a picture to what a system is shown: opened, cut out, framed, with a line that says what was done.

prepared = prepare(open_picture(Path("photo.jpg")), pipeline.framing)
views = pipeline(prepared.picture, poses_from_degrees([30, 60]))
"""

from dataclasses import dataclass

from PIL import Image

from systems.pictures.choices import FramingName
from systems.pictures.foreground import cut_out
from systems.pictures.framing import OBJECT_FRAMINGS, bounding_box, frame
from systems.pictures.opening import LIMITS, PictureLimits


@dataclass(frozen=True, eq=False)
class Prepared:
    """What a system is shown."""

    picture: Image.Image
    """RGBA, square, at the resolution that it was given in."""
    line: str
    """What was done, in words."""


def prepare(
    picture: Image.Image,
    system: FramingName,
    foreground: str = "auto",
    framing: FramingName | None = None,
    limits: PictureLimits = LIMITS,
) -> Prepared:
    """Cut a picture's object out and frame it as a system was trained.

    Args:
        picture: RGBA, upright, of `open_picture` or `decode_picture`.
        system: the framing that the system expects: `ObjectPipeline.framing`.
        foreground: as for `cut_out`; `auto` looks for an object where the system's framing is by one.
        framing: another one. By default the system's, and `none` where `foreground` finds no object to frame.
        limits: of a mask's file.

    Raises:
        InputError: when no object is found, or none is there to frame.
    """
    cut = cut_out(picture, foreground, system in OBJECT_FRAMINGS, limits)
    named: FramingName = framing or (system if cut.found or system not in OBJECT_FRAMINGS else "none")
    framed = frame(cut.picture, named)
    line = f"{cut.how}, {_framing_line(framed, named)}"
    return Prepared(framed, f"{line}; {edge}" if cut.found and (edge := _cut_off(cut.picture)) else line)


def _framing_line(framed: Image.Image, name: FramingName) -> str:
    if name not in OBJECT_FRAMINGS:
        return {"centre_square": "its middle square", "none": "not framed"}[name]
    left, top, right, bottom = bounding_box(framed, OBJECT_FRAMINGS[name].above)
    return f"framed as {name}: {max(right - left, bottom - top) / framed.width:.0%} of the square"


def _cut_off(picture: Image.Image) -> str:
    """Which edges of the picture an object touches: it goes on beyond, and no model knows where."""
    left, top, right, bottom = bounding_box(picture, 127)
    touched = {"left": left == 0, "top": top == 0, "right": right == picture.width, "bottom": bottom == picture.height}
    names = [name for name, touches in touched.items() if touches]
    return f"the object is cut off at the picture's {' and '.join(names)}" if names else ""
