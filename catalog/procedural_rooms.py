"""Procedural rooms: floor, four walls, a ceiling whose panels are the light, and what hangs on the walls.

Frame: Z up, the floor's surface at z = 0 and its middle at the origin; lengths are about metres. A room is closed: whoever
stands in it sees a wall, the floor or the ceiling wherever no object is. Walls differ in colour and in what is on them, so that
one can tell where one looks.
"""

from dataclasses import dataclass

import numpy as np

from catalog.procedural_parts import BLACK, GLASS, GREY, QUARTER, TEXTURES, WHITE, WOOD, Color, Look, Sketch

THICKNESS = 0.12
_SKY: Color = (0.62, 0.83, 0.98)
_LAMPLIGHT: Color = (1.0, 0.97, 0.9)
_PANEL_STRENGTH = 5.0
# Thin things on a wall reach into it, so that no two surfaces lie in one plane.
_DEPTH = 0.08


@dataclass(frozen=True)
class Room:
    """The free space of a room: extents along x, y and z."""

    width: float
    depth: float
    height: float


def draw_room(s: Sketch) -> Room:
    """A room of about 4 by 3.5 metres; its longest side lies along x."""
    width = s.uniform(3.8, 4.4)
    return Room(width, s.uniform(0.8, 0.95) * width, s.uniform(1.9, 2.2))


def build_room(s: Sketch, room: Room) -> None:
    """Add the room's shell, its light and what is on its walls."""
    outer = (room.width + 2 * THICKNESS, room.depth + 2 * THICKNESS, THICKNESS)
    s.add("box", outer, (0, 0, -THICKNESS / 2), _covering(s, WOOD if s.chance(0.5) else s.palette.colors[3], 0.45))
    _rug(s, room)
    ceiling = s.add("box", outer, (0, 0, room.height + THICKNESS / 2), _plain(s, WHITE))
    _panels(s, room, ceiling)
    sides = ((0.0, room.width, room.depth), (QUARTER, room.depth, room.width))
    places = [(angle + 2 * QUARTER * half, length, across) for half in (0, 1) for angle, length, across in sides]
    fixtures = s.rng.permutation(4)
    for number, (angle, length, across) in enumerate(places):
        wall = _wall(s, angle, (length, across, room.height), number)
        _FIXTURES[int(fixtures[number])](s, wall, length, room.height)


def _wall(s: Sketch, angle: float, extents: tuple[float, float, float], number: int) -> str:
    """A wall whose own −y side faces the room.

    Args:
        s: the sketch to add to.
        angle: its turn about z; at 0 it stands at the room's +y end.
        extents: its length, the room's extent across it, and the room's height.
        number: which of the four it is.
    """
    length, across, height = extents
    away = across / 2 + THICKNESS / 2
    at = (-np.sin(angle) * away, np.cos(angle) * away, height / 2)
    # As high and as long as the shell, so that no light comes in at the seams.
    size = (length + THICKNESS, THICKNESS, height + THICKNESS)
    return s.add("box", size, at, _covering(s, s.palette.colors[number], 0.3), turn=(0, 0, angle))


def _covering(s: Sketch, color: Color, whiteness: float) -> Look:
    """Paint or a pattern in a lighter tone of a colour; matt, for a mirror of a wall would hide it."""
    tone, other = _lighter(color, whiteness), _lighter(color, min(whiteness + s.uniform(0.25, 0.4), 0.9))
    if s.chance(0.35):
        return _plain(s, tone)
    variant = int(s.rng.integers(1000))
    return Look(tone, other, s.choose(TEXTURES), roughness=s.uniform(0.7, 0.95), variant=variant)


def _plain(s: Sketch, color: Color) -> Look:
    return Look(color, color, roughness=s.uniform(0.7, 0.95))


def _lighter(color: Color, whiteness: float) -> Color:
    red, green, blue = (float(value + (1.0 - value) * whiteness) for value in color)
    return red, green, blue


def _rug(s: Sketch, room: Room) -> None:
    size = (room.width * s.uniform(0.35, 0.5), room.depth * s.uniform(0.35, 0.5), 0.04)
    at = (s.uniform(-0.3, 0.3), s.uniform(-0.3, 0.3), 0)
    look = _covering(s, s.palette.colors[int(s.rng.integers(4))], 0.1)
    if s.chance(0.5):
        s.add("cylinder", size, at, look, profile=1)
    else:
        s.add("box", size, at, look)


def _panels(s: Sketch, room: Room, ceiling: str) -> None:
    """Luminous panels, the room's light: nothing else lights a closed room."""
    across, along = s.choose(((2, 2), (3, 1), (3, 2)))
    share = 0.6 / np.sqrt(across * along)
    size = (room.width * share, room.depth * share, _DEPTH)
    light = Look(_LAMPLIGHT, _LAMPLIGHT, emission=_PANEL_STRENGTH)
    for column in range(across):
        for row in range(along):
            x, y = (column + 0.5) / across - 0.5, (row + 0.5) / along - 0.5
            s.add("box", size, (x * room.width, y * room.depth, -THICKNESS / 2), light, parent=ceiling)


def _door(s: Sketch, wall: str, length: float, height: float) -> None:
    """A door in its frame, with a knob."""
    tall = 0.8 * height
    x, z = s.uniform(-0.25, 0.25) * length, (tall - height) / 2
    frame = s.add("box", (1.0, _DEPTH, tall), (x, -THICKNESS / 2, z), _plain(s, WHITE), parent=wall)
    leaf = s.add("box", (0.86, _DEPTH, tall - 0.07), (0, -0.02, -0.035), _plain(s, WOOD), parent=frame)
    side = s.choose((-1, 1))
    s.add("sphere", (0.09, 0.09, 0.09), (side * 0.34, -0.07, 0), _plain(s, BLACK), parent=leaf)
    for z in (-0.22, 0.22):
        at = (0, -0.02, z * tall)
        s.add("box", (0.6, _DEPTH, 0.3 * tall), at, _plain(s, _lighter(WOOD, 0.25)), parent=leaf)


def _window(s: Sketch, wall: str, length: float, height: float) -> None:
    """A wide window with bars; the sky in it shines a little."""
    size = (s.uniform(0.4, 0.55) * length, 0.5 * height)
    at = (s.uniform(-0.15, 0.15) * length, -THICKNESS / 2, 0.08 * height)
    frame = s.add("box", (size[0], _DEPTH, size[1]), at, _plain(s, WHITE), parent=wall)
    sky = Look(_SKY, _SKY, emission=0.7)
    pane = s.add("box", (size[0] - 0.12, _DEPTH, size[1] - 0.12), (0, -0.01, 0), sky, parent=frame)
    bar = _plain(s, WHITE)
    s.add("box", (0.06, _DEPTH, size[1] - 0.12), (0, -0.02, 0), bar, parent=pane)
    s.add("box", (size[0] - 0.12, _DEPTH, 0.06), (0, -0.02, 0), bar, parent=pane)
    s.add("box", (size[0] + 0.16, 0.2, 0.06), (0, -0.07, -size[1] / 2), bar, parent=frame)


def _pictures(s: Sketch, wall: str, length: float, height: float) -> None:
    """Two framed pictures of different sizes."""
    for x in (-0.24, 0.22):
        wide, tall = s.uniform(0.6, 1.0), s.uniform(0.5, 0.9)
        at = (x * length, -THICKNESS / 2, s.uniform(0.04, 0.14) * height)
        frame = s.add("box", (wide, _DEPTH, tall), at, _plain(s, s.choose((BLACK, WOOD, WHITE))), parent=wall)
        s.add("box", (wide - 0.12, _DEPTH, tall - 0.12), (0, -0.01, 0), _canvas(s), parent=frame)


def _canvas(s: Sketch) -> Look:
    """Two strong colours in a pattern."""
    first, second = (int(number) for number in s.rng.permutation(4)[:2])
    colors = s.palette.colors
    return Look(colors[first], colors[second], s.choose(TEXTURES), roughness=0.8, variant=int(s.rng.integers(1000)))


def _clock_and_shelf(s: Sketch, wall: str, length: float, height: float) -> None:
    """A clock beside a shelf that carries books of several colours."""
    side = s.choose((-1, 1))
    at = (side * 0.28 * length, -THICKNESS / 2, 0.2 * height)
    rim = s.add("cylinder", (0.6, 0.6, _DEPTH), at, s.solid(0), turn=(QUARTER, 0, 0), profile=1, parent=wall)
    s.add("cylinder", (0.5, 0.5, _DEPTH), (0, 0, 0.01), _plain(s, WHITE), profile=1, parent=rim)
    for angle, reach in ((s.uniform(0, 6.2), 0.2), (s.uniform(0, 6.2), 0.14)):
        at = (0.5 * reach * np.cos(angle), 0.5 * reach * np.sin(angle), 0.05)
        s.add("box", (reach, 0.035, 0.03), at, _plain(s, BLACK), turn=(0, 0, angle), parent=rim)
    at = (-side * 0.18 * length, -THICKNESS / 2 - 0.12, 0.1 * height)
    board = s.add("box", (1.3, 0.26, 0.06), at, _plain(s, WOOD), parent=wall)
    covers = [s.solid(index) for index in range(4)] + [_plain(s, GREY), _plain(s, GLASS)]
    for number in range(7):
        tall = s.uniform(0.24, 0.4)
        at = (-0.5 + number * 0.15, 0, 0.03 + tall / 2)
        s.add("box", (0.12, 0.2, tall), at, s.choose(covers), parent=board)


_FIXTURES = (_door, _window, _pictures, _clock_and_shelf)
