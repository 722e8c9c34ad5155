"""The recipe of a scene: a closed room with several objects in it, from a seed, without Blender.

Unlike an object a scene is seen from within: the camera protocol `inside` (blender_render/inside.py) puts cameras into it that
look at different places. `catalog.procedural_worker` turns a recipe into a file.
"""

import numpy as np

from catalog.procedural_furnishing import furnish
from catalog.procedural_parts import ObjectRecipe, Sketch, draw_palette
from catalog.procedural_recipe import features
from catalog.procedural_rooms import build_room, draw_room


def scene_recipe(seed: int) -> ObjectRecipe:
    """The scene of a seed; the same seed gives the same scene on every machine.

    Args:
        seed: any integer from 0.
    """
    rng = np.random.default_rng(seed)
    sketch = Sketch(rng, draw_palette(rng))
    room = draw_room(sketch)
    build_room(sketch, room)
    standing = furnish(rng, room)
    parts = (*sketch.parts, *(part for one in standing for part in one.parts))
    groups = tuple(one.group for one in standing)
    families = tuple(one.family for one in standing)
    tags = ("room", "scene", *families, *sketch.palette.names, *features(parts, groups))
    title = f"{sketch.palette.names[0]} room with {families[0]}, {families[1]} and {len(families) - 2} more"
    return ObjectRecipe(seed, ("room", "scene"), title, tags, parts, groups)
