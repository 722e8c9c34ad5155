"""Furnishing of procedural rooms: which objects stand where, some of them on plinths, none in another or in a wall.

An object takes the circle around its bounding box's footprint, so that it may be turned; circles do not overlap.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from catalog.procedural_bounds import Floats, bounding_box
from catalog.procedural_families import FAMILIES
from catalog.procedural_parts import Group, Part, Sketch, Vector, draw_palette
from catalog.procedural_rooms import Room

FEWEST, MOST = 5, 8
_GAP = 0.08
_TRIES = 200
# Longest side, plinth included, and a plinth's height as a share of what stands on it.
_SIDE, _PLINTH = (0.75, 1.3), (0.4, 0.9)
# How far an object may look away from the middle of the room, radians.
_ASIDE = 0.7


@dataclass(frozen=True)
class Standing:
    """An object in its place.

    Args:
        family: of the object.
        group: the node that puts it where it stands.
        parts: of the object and its plinth; they hang from the group where they hang from no other part.
        centre: of the circle that it takes, on the floor.
        radius: of the circle.
    """

    family: str
    group: Group
    parts: tuple[Part, ...]
    centre: tuple[float, float]
    radius: float


def furnish(rng: np.random.Generator, room: Room) -> list[Standing]:
    """Five to eight objects of different families, each in its own colours, turned to the middle of the room."""
    families = rng.permutation(sorted(FAMILIES))[: int(rng.integers(FEWEST, MOST + 1))]
    standing: list[Standing] = []
    for family in families:
        standing.append(_standing(rng, room, str(family), standing))
    return standing


def _standing(rng: np.random.Generator, room: Room, family: str, others: Sequence[Standing]) -> Standing:
    """An object of a family at a free place."""
    sketch = Sketch(rng, draw_palette(rng))
    FAMILIES[family][1](sketch)
    if sketch.chance(0.3):
        _add_plinth(sketch)
    low, high = bounding_box(sketch.parts)
    scale, centre = _free_place(sketch, room, high - low, others)
    name = f"object-{len(others):02d}"
    turn = float(np.arctan2(-centre[0], centre[1])) + sketch.uniform(-_ASIDE, _ASIDE)
    group = Group(name, _position(centre, turn, scale, low, high), scale, turn=turn)
    radius = scale * _footprint_radius(high - low)
    return Standing(family, group, tuple(_below(part, name) for part in sketch.parts), centre, radius)


def _add_plinth(sketch: Sketch) -> None:
    """A box or drum below what is there, as wide as its footprint."""
    low, high = bounding_box(sketch.parts)
    x, y, z = (float(value) for value in high - low)
    height = sketch.uniform(*_PLINTH) * z
    at = (float(low[0]) + x / 2, float(low[1]) + y / 2, float(low[2]) - height / 2)
    sketch.add(sketch.choose(("box", "cylinder")), (x, y, height), at, sketch.paint(2), profile=1.0)


def _free_place(
    sketch: Sketch, room: Room, size: Floats, others: Sequence[Standing]
) -> tuple[float, tuple[float, float]]:
    """The scale of an object and where its circle fits; the longer a place is looked for, the smaller it becomes.

    Raises:
        ValueError: when even a fifth of the size fits nowhere.
    """
    largest = sketch.uniform(*_SIDE) / float(size.max())
    for scale in largest * np.linspace(1.0, 0.2, _TRIES):
        radius = float(scale) * _footprint_radius(size)
        reach = (room.width / 2 - radius - _GAP, room.depth / 2 - radius - _GAP)
        centre = (sketch.uniform(-reach[0], reach[0]), sketch.uniform(-reach[1], reach[1]))
        if all(np.hypot(*np.subtract(centre, other.centre)) > radius + other.radius + _GAP for other in others):
            return float(scale), centre
    raise ValueError(f"a room of {room.width} by {room.depth} has no place for {len(others) + 1} objects")


def _footprint_radius(size: Floats) -> float:
    return 0.5 * float(np.hypot(size[0], size[1]))


def _position(centre: tuple[float, float], turn: float, scale: float, low: Floats, high: Floats) -> Vector:
    """Where an object's own origin goes, so that its footprint's middle comes to `centre` and its lowest point to the floor."""
    x, y = 0.5 * scale * (low + high)[:2]
    return (
        float(centre[0] - np.cos(turn) * x + np.sin(turn) * y),
        float(centre[1] - np.sin(turn) * x - np.cos(turn) * y),
        float(-scale * low[2]),
    )


def _below(part: Part, group: str) -> Part:
    """A part under a name of its own in the room, hanging from the group where it hung from nothing."""
    return replace(part, name=f"{group}-{part.name}", parent=f"{group}-{part.parent}" if part.parent else group)
