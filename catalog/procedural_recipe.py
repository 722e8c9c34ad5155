"""The procedural source of objects: from a seed to the full description of an object, without Blender.

`recipe(seed)` picks a family, a palette and a way to arrange the nodes, and lets the family sketch its parts.
Objects stand upright in a Z-up world and look to −Y; front, back, left and right differ in outline or colour, so that
a novel view is something to be learnt. `catalog.procedural_worker` turns a recipe into a file.
"""

from dataclasses import replace

import numpy as np

from catalog.procedural_families import FAMILIES
from catalog.procedural_parts import Group, ObjectRecipe, Part, Sketch, draw_palette


def recipe(seed: int) -> ObjectRecipe:
    """The object of a seed; the same seed gives the same object on every machine.

    Args:
        seed: any integer from 0.
    """
    rng = np.random.default_rng(seed)
    family = sorted(FAMILIES)[int(rng.integers(len(FAMILIES)))]
    kind, draw = FAMILIES[family]
    sketch = Sketch(rng, draw_palette(rng))
    draw(sketch)
    parts, groups = _arrange(sketch)
    tags = (family, kind, *sketch.palette.names, *features(parts, groups))
    title = f"{sketch.palette.names[0]} and {sketch.palette.names[1]} {family}"
    return ObjectRecipe(seed, (family, kind), title, tags, parts, groups)


def _arrange(sketch: Sketch) -> tuple[tuple[Part, ...], tuple[Group, ...]]:
    """Hang the parts as asset files in the wild do: loose in the scene, under one node, or under two scaled ones.

    The groups' scales and offsets put an object at any size anywhere, as collections do, so normalising has work.
    """
    parts, style = tuple(sketch.parts), sketch.choose(("loose", "grouped", "nested"))
    if style == "loose":
        return parts, ()
    offset = (sketch.uniform(-2, 2), sketch.uniform(-2, 2), sketch.uniform(-1, 1))
    groups = [Group("object", offset, round(float(np.exp(sketch.uniform(-1.2, 1.6))), 4))]
    if style == "nested":
        groups.append(Group("model", (0.0, 0.0, sketch.uniform(0, 0.5)), sketch.uniform(0.5, 2.0), parent="object"))
    top = groups[-1].name
    return tuple(part if part.parent else replace(part, parent=top) for part in parts), tuple(groups)


def features(parts: tuple[Part, ...], groups: tuple[Group, ...]) -> tuple[str, ...]:
    """Tags for what a loader has to cope with."""
    looks = [part.look for part in parts]
    present = {
        "textured": any(look.texture for look in looks),
        "vertex-colored": any(look.vertex_colors for look in looks),
        "metallic": any(look.metallic > 0 for look in looks),
        "multi-root": sum(part.parent is None for part in parts) > 1,
        "nested": any(group.parent for group in groups),
    }
    return tuple(tag for tag, holds in present.items() if holds)
