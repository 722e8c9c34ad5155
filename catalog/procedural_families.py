"""The families of procedural objects: what each is called, what kind it belongs to, who sketches it."""

from collections.abc import Callable

from catalog import procedural_creatures as creatures
from catalog import procedural_household as household
from catalog import procedural_places as places
from catalog import procedural_vehicles as vehicles
from catalog.procedural_parts import Sketch

Family = Callable[[Sketch], None]

FAMILIES: dict[str, tuple[str, Family]] = {
    "aeroplane": ("vehicle", vehicles.aeroplane),
    "bookshelf": ("furniture", household.bookshelf),
    "camera": ("device", household.camera),
    "car": ("vehicle", vehicles.car),
    "castle": ("building", places.castle),
    "chair": ("furniture", household.chair),
    "dog": ("creature", creatures.dog),
    "duck": ("creature", creatures.duck),
    "fish": ("creature", creatures.fish),
    "helicopter": ("vehicle", vehicles.helicopter),
    "house": ("building", places.house),
    "lamp": ("device", household.lamp),
    "locomotive": ("vehicle", vehicles.locomotive),
    "mug": ("tableware", household.mug),
    "mushroom": ("plant", places.mushroom),
    "robot": ("device", creatures.robot),
    "rocket": ("vehicle", vehicles.rocket),
    "sailboat": ("vehicle", vehicles.sailboat),
    "snowman": ("creature", creatures.snowman),
    "stack": ("abstract", places.stack),
    "table": ("furniture", household.table),
    "teapot": ("tableware", household.teapot),
    "tree": ("plant", places.tree),
    "truck": ("vehicle", vehicles.truck),
}
"""Name of a family → the kind it belongs to and the function that sketches it."""
