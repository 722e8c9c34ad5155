"""The vocabulary in which procedural objects are described: parts, looks, groups and a sketchbook to note them in.

Nothing here knows Blender. Frame: right-handed, Z up, the object's front looks along −Y (which glTF calls +Z);
lengths are about one unit per object, angles are radians, colours are sRGB in [0, 1].
"""

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeVar, get_args

import numpy as np

Vector = tuple[float, float, float]
Color = tuple[float, float, float]
Shape = Literal[
    "box", "tapered", "wedge", "cylinder", "cone", "cup", "sphere", "dome", "capsule", "pillow", "torus", "arc"
]
Texture = Literal["checker", "stripes", "dots", "gradient", "noise"]
T = TypeVar("T")

SHAPES: tuple[Shape, ...] = get_args(Shape)
TEXTURES: tuple[Texture, ...] = get_args(Texture)

QUARTER = np.pi / 2
WHITE: Color = (0.93, 0.93, 0.9)
BLACK: Color = (0.06, 0.06, 0.08)
GREY: Color = (0.5, 0.52, 0.56)
WOOD: Color = (0.52, 0.31, 0.14)
LEAF: Color = (0.13, 0.55, 0.17)
GLASS: Color = (0.35, 0.72, 0.93)
FIRE: Color = (1.0, 0.5, 0.05)

# Name and (hue, saturation, value), in the order of the colour circle.
HUES: tuple[tuple[str, Vector], ...] = (
    ("red", (0.0, 0.9, 0.85)),
    ("orange", (0.075, 0.95, 0.97)),
    ("yellow", (0.14, 0.92, 0.97)),
    ("lime", (0.23, 0.85, 0.8)),
    ("green", (0.36, 0.85, 0.6)),
    ("teal", (0.48, 0.9, 0.65)),
    ("sky", (0.54, 0.75, 0.95)),
    ("blue", (0.62, 0.88, 0.85)),
    ("violet", (0.73, 0.75, 0.75)),
    ("purple", (0.8, 0.8, 0.6)),
    ("magenta", (0.88, 0.85, 0.88)),
    ("pink", (0.95, 0.5, 0.97)),
)


@dataclass(frozen=True)
class Look:
    """What a part's surface looks like."""

    color: Color
    """Main colour, sRGB."""
    second: Color
    """The other colour of a texture or of the vertex colours, sRGB."""
    texture: Texture | None = None
    """Kind of the image texture; none for a plain or a vertex-coloured surface."""
    vertex_colors: bool = False
    """Whether the mesh carries a blend from `color` to `second` as vertex colours."""
    roughness: float = 0.5
    metallic: float = 0.0
    variant: int = 0
    """Picks the cell count, direction or noise of a texture and the axis of vertex colours."""
    emission: float = 0.0
    """Strength of the light that a plain surface gives in its own colour; 1 is as bright as white in a picture."""


@dataclass(frozen=True)
class Part:
    """One mesh: a primitive placed in the frame of its parent."""

    name: str
    shape: Shape
    size: Vector
    """Extents along the part's own x, y and z before it is turned."""
    position: Vector
    """Centre of the primitive in the parent's frame (an arc's is the middle between its two ends)."""
    rotation: Vector
    """XYZ Euler angles in radians."""
    profile: float
    """The shape's own ratio; `catalog.procedural_meshes` says what it means to which shape."""
    look: Look
    parent: str | None = None


@dataclass(frozen=True)
class Group:
    """A node without a mesh that carries others."""

    name: str
    position: Vector
    scale: float
    parent: str | None = None
    turn: float = 0.0
    """Angle about z, radians, counter-clockwise seen from above."""


@dataclass(frozen=True)
class ObjectRecipe:
    """Everything that an object is made of; equal recipes give equal files."""

    seed: int
    families: tuple[str, ...]
    """The family and the kind it belongs to, such as ("rocket", "vehicle")."""
    title: str
    tags: tuple[str, ...]
    parts: tuple[Part, ...]
    """A part that others hang from comes before them."""
    groups: tuple[Group, ...]

    @property
    def roots(self) -> tuple[str, ...]:
        """Names of the nodes without a parent."""
        nodes: tuple[Group | Part, ...] = (*self.groups, *self.parts)
        return tuple(node.name for node in nodes if node.parent is None)


@dataclass(frozen=True)
class Palette:
    """Four strong colours that no one would take for each other, in random order."""

    names: tuple[str, ...]
    colors: tuple[Color, ...]


def draw_palette(rng: np.random.Generator) -> Palette:
    """Four colours from the four quarters of the colour circle, each varied a little."""
    start, entries = int(rng.integers(len(HUES))), []
    for quarter in rng.permutation(4):
        # An offset of 0 or 1 in a quarter of three entries leaves at least one entry between neighbours.
        name, (hue, saturation, value) = HUES[(start + 3 * int(quarter) + int(rng.integers(2))) % len(HUES)]
        jitter = rng.uniform(-1, 1, 3) * (0.012, 0.07, 0.07)
        bounded = np.clip([saturation + jitter[1], value + jitter[2]], 0, 1)
        entries.append((name, colorsys.hsv_to_rgb((hue + jitter[0]) % 1, float(bounded[0]), float(bounded[1]))))
    return Palette(tuple(name for name, _ in entries), tuple(color for _, color in entries))


@dataclass
class Sketch:
    """The sketchbook of one object: random choices, looks, and the parts noted so far."""

    rng: np.random.Generator
    palette: Palette
    parts: list[Part] = field(default_factory=list)

    def uniform(self, low: float, high: float) -> float:
        """A number between `low` and `high`."""
        return round(float(self.rng.uniform(low, high)), 4)

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return bool(self.rng.random() < probability)

    def choose(self, options: Sequence[T]) -> T:
        """One of `options`, all alike in probability."""
        return options[int(self.rng.integers(len(options)))]

    def solid(self, color: int | Color, metallic: float = 0.0) -> Look:
        """A plain look for features that must stay readable: eyes, windows, wheels.

        Args:
            color: index into the palette, or an sRGB colour.
            metallic: 0 for paint, 1 for bare metal.
        """
        rgb = self.palette.colors[color] if isinstance(color, int) else color
        return Look(rgb, rgb, roughness=self.uniform(0.25, 0.85), metallic=metallic)

    def paint(self, index: int) -> Look:
        """A look of palette colour `index` for large surfaces: plain, metallic, textured or vertex-coloured."""
        color, variant = self.palette.colors[index], int(self.rng.integers(1000))
        neighbours = [self.palette.colors[(index + 1) % 4], self.palette.colors[(index + 3) % 4]]
        kind = self.rng.random()
        if kind < 0.3:
            return self.solid(index)
        if kind < 0.4:
            return Look(color, color, roughness=self.uniform(0.25, 0.45), metallic=self.uniform(0.5, 0.8))
        roughness = self.uniform(0.4, 0.95)
        if kind < 0.6:
            # No white here: a blend into it would wash the colour out.
            other = self.choose(neighbours)
            return Look(color, other, vertex_colors=True, roughness=roughness, variant=variant)
        other = self.choose([*neighbours, WHITE])
        return Look(color, other, self.choose(TEXTURES), roughness=roughness, variant=variant)

    def add(
        self,
        shape: Shape,
        size: Vector,
        at: Vector,
        look: Look,
        *,
        turn: Vector = (0.0, 0.0, 0.0),
        profile: float = 0.5,
        parent: str | None = None,
    ) -> str:
        """Note a part and return its name, by which other parts can hang from it."""
        name = f"{shape}-{len(self.parts):02d}"
        self.parts.append(Part(name, shape, _floats(size), _floats(at), _floats(turn), float(profile), look, parent))
        return name


def _floats(values: Vector) -> Vector:
    """Plain floats: a NumPy scalar in a recipe would compare and print differently."""
    x, y, z = (float(value) for value in values)
    return x, y, z
