"""Procedural places and plants: house, castle, tree, mushroom, and abstract stacks."""

from catalog.procedural_parts import BLACK, GLASS, LEAF, QUARTER, WHITE, WOOD, Shape, Sketch

SIDES = (-1, 1)


def house(s: Sketch) -> None:
    """A house: door and windows in front, one window behind, a chimney and an annex at one side."""
    width, depth, height = s.uniform(0.7, 0.9), s.uniform(0.55, 0.7), s.uniform(0.4, 0.55)
    walls = s.add("box", (width, depth, height), (0, 0, height / 2), s.paint(0))
    rise, turn = s.uniform(0.28, 0.4), s.choose((0.0, QUARTER))
    size = (depth + 0.16, width + 0.16, rise) if turn else (width + 0.16, depth + 0.16, rise)
    s.add("wedge", size, (0, 0, height / 2 + rise / 2), s.paint(1), turn=(0, 0, turn), parent=walls)
    door = s.add("box", (0.18, 0.05, 0.3), (-width * 0.2, -depth / 2, 0.16 - height / 2), s.solid(2), parent=walls)
    s.add("sphere", (0.04, 0.04, 0.04), (0.05, -0.03, 0), s.solid(BLACK), parent=door)
    for x, y in ((width * 0.22, -depth / 2), (width * 0.1, depth / 2)):
        pane = s.add("box", (0.22, 0.04, 0.2), (x, y, 0.04), s.solid(WHITE), parent=walls)
        s.add("box", (0.17, 0.06, 0.15), (0, 0, 0), s.solid(GLASS), parent=pane)
    at = (width * 0.28, depth * 0.15, height / 2 + rise * 0.75)
    stack = s.add("box", (0.13, 0.13, 0.36), at, s.paint(3), parent=walls)
    s.add("box", (0.17, 0.17, 0.05), (0, 0, 0.18), s.solid(BLACK), parent=stack)
    side = s.choose(SIDES)
    at = (side * (width / 2 + 0.13), 0.05, height * 0.275)
    annex = s.add("box", (0.26, depth * 0.6, height * 0.55), at, s.solid(3))
    at = (0, 0, height * 0.275 + 0.07)
    s.add("wedge", (0.3, depth * 0.66, 0.14), at, s.solid(1), profile=0 if side > 0 else 1, parent=annex)
    if s.chance(0.5):
        bush = s.add("sphere", (0.26, 0.26, 0.24), (-side * (width / 2 + 0.1), -depth * 0.4, 0.12), s.solid(LEAF))
        s.add("sphere", (0.08, 0.08, 0.08), (0, -0.1, 0.06), s.solid(2), parent=bush)
    else:
        s.add("box", (0.2, 0.3, 0.03), (-width * 0.2, -depth / 2 - 0.15, 0.015), s.solid(WOOD))


def castle(s: Sketch) -> None:
    """A castle: a gate in front, four towers whose roofs differ, a flag on the tallest."""
    width, height = s.uniform(0.7, 0.85), s.uniform(0.3, 0.42)
    keep = s.add("box", (width, width * 0.8, height), (0, 0, height / 2), s.paint(0))
    gate = s.add("box", (0.24, 0.06, height * 0.6), (0, -width * 0.4, -height * 0.19), s.solid(WOOD), parent=keep)
    at = (0.0, 0.0, height * 0.3)
    s.add("cylinder", (0.24, 0.24, 0.06), at, s.solid(WOOD), turn=(QUARTER, 0, 0), profile=1, parent=gate)
    for x in (-0.3, 0, 0.3):
        s.add("box", (0.12, 0.1, 0.1), (x * width, -width * 0.36, height / 2 + 0.05), s.solid(0), parent=keep)
    wall, tallest = s.paint(1), s.choose(range(4))
    for index, (x, y) in enumerate(((-1, -1), (1, -1), (1, 1), (-1, 1))):
        tall = height * s.uniform(1.3, 1.6) + (0.3 if index == tallest else 0)
        at = (x * width / 2, y * width * 0.4, tall / 2 - 0.01)
        tower = s.add("cylinder", (0.28, 0.28, tall), at, wall, profile=0.9)
        roof = s.paint(index) if index == tallest else s.solid(index)
        s.add("cone", (0.36, 0.36, 0.32), (0, 0, tall / 2 + 0.16), roof, parent=tower)
        s.add("box", (0.08, 0.05, 0.14), (0, -0.125, tall * 0.22), s.solid(BLACK), parent=tower)
        if index == tallest:
            s.add("box", (0.22, 0.02, 0.13), (0.11, 0, tall / 2 + 0.4), s.solid(2), parent=tower)
            s.add("cylinder", (0.03, 0.03, 0.26), (0, 0, tall / 2 + 0.36), s.solid(BLACK), profile=1, parent=tower)
    at = (0.05, 0.08, height / 2 + 0.2)
    s.add("tapered", (width * 0.4, width * 0.36, 0.4), at, s.paint(3), profile=0.7, parent=keep)


def tree(s: Sketch) -> None:
    """A tree, fir or broadleaf, with a swing or a bird house on one side and fruits on the other."""
    trunk_height = s.uniform(0.3, 0.45)
    trunk = s.add("cylinder", (0.18, 0.18, trunk_height + 0.1), (0, 0, trunk_height / 2), s.solid(WOOD), profile=0.7)
    if s.chance(0.5):
        for level, (width, tall) in enumerate(((0.8, 0.42), (0.62, 0.38), (0.42, 0.36))):
            look = s.paint(0) if level == 1 else s.solid(LEAF if level else 0)
            s.add("cone", (width, width, tall), (0, 0, trunk_height + 0.2 + level * 0.22), look)
        s.add("sphere", (0.12, 0.12, 0.12), (0, 0, trunk_height + 0.84), s.solid(3))
    else:
        crown = s.add("sphere", (0.66, 0.6, 0.56), (0.04, 0, trunk_height + 0.3), s.paint(0))
        s.add("sphere", (0.42, 0.42, 0.38), (-0.26, 0.1, 0.06), s.solid(LEAF), parent=crown)
        s.add("sphere", (0.36, 0.34, 0.36), (0.14, -0.06, 0.3), s.paint(2), parent=crown)
    for angle_x, angle_z in ((-0.1, 0.12), (0.16, 0.22), (0.06, 0.02)):
        at = (angle_x * 1.4, -0.3 + angle_z * 0.3, trunk_height + 0.1 + angle_z)
        s.add("sphere", (0.13, 0.13, 0.13), at, s.solid(1))
    side = s.choose(SIDES)
    turn = (0, side * 1.2, 0)
    at = (side * 0.26, -0.02, -0.02)
    s.add("cylinder", (0.07, 0.07, 0.6), at, s.solid(WOOD), turn=turn, profile=0.7, parent=trunk)
    hut = s.add("box", (0.2, 0.2, 0.22), (side * 0.46, -0.02, 0.1), s.paint(3), parent=trunk)
    s.add("wedge", (0.28, 0.26, 0.14), (0, 0, 0.18), s.solid(2), parent=hut)
    s.add("sphere", (0.09, 0.05, 0.09), (0, -0.1, 0.01), s.solid(BLACK), parent=hut)
    s.add("cylinder", (0.7, 0.7, 0.08), (0.05, 0, -0.02), s.solid(LEAF), profile=0.9)


def mushroom(s: Sketch) -> None:
    """A toadstool where someone lives: door in front, a window to one side, a small neighbour."""
    width, height = s.uniform(0.8, 1.0), s.uniform(0.45, 0.6)
    stem = s.add("cylinder", (0.46, 0.46, height), (0, 0, height / 2), s.solid(WHITE), profile=0.75)
    cap = s.add("dome", (width, width, 0.44), (0, 0, height / 2 + 0.17), s.paint(0), turn=(0.1, 0, 0), parent=stem)
    for x, y, z in ((0, -0.36, 0), (0.3, -0.2, 0.06), (-0.3, -0.1, 0.1), (0.05, 0.05, 0.21), (0.1, 0.34, 0.02)):
        s.add("sphere", (0.17, 0.17, 0.12), (x * width, y * width, z), s.solid(WHITE if y < 0 else 1), parent=cap)
    door = s.add("box", (0.18, 0.06, 0.3), (0, -0.21, 0.15 - height / 2), s.paint(2), turn=(-0.12, 0, 0), parent=stem)
    s.add("sphere", (0.04, 0.04, 0.04), (0.05, -0.04, 0), s.solid(BLACK), parent=door)
    side = s.choose(SIDES)
    s.add("sphere", (0.06, 0.15, 0.15), (side * 0.2, 0, 0.05), s.solid(GLASS), parent=stem)
    small = s.add("cylinder", (0.12, 0.12, 0.24), (-side * 0.46, -0.12, 0.12), s.solid(WHITE), profile=0.8)
    s.add("dome", (0.32, 0.32, 0.18), (0, 0, 0.17), s.paint(3), parent=small)
    at = (-side * 0.16, 0.2, 0.16)
    s.add("cylinder", (0.06, 0.06, 0.3), at, s.solid(2), turn=(0.2, 0, 0), profile=1.3, parent=cap)
    s.add("cylinder", (1.1, 0.8, 0.05), (-side * 0.1, -0.02, 0), s.solid(LEAF), profile=0.95)


def stack(s: Sketch) -> None:
    """An abstract sculpture: a leaning pile of primitives, each with something that sticks out to one side."""
    shapes: tuple[Shape, ...] = ("box", "tapered", "cylinder", "sphere", "torus", "pillow", "capsule", "wedge")
    z, x, y = 0.0, 0.0, 0.0
    for level in range(s.choose((3, 4, 5))):
        width, tall = s.uniform(0.35, 0.6) * (1 - 0.1 * level), s.uniform(0.2, 0.34)
        size = (width, width * s.uniform(0.6, 1.0), tall)
        at, turn = (x, y, z + tall / 2), (0, 0, s.uniform(-0.6, 0.6))
        block = s.add(s.choose(shapes), size, at, s.paint(level % 4), turn=turn, profile=s.uniform(0.35, 0.65))
        if s.chance(0.7):
            out, color = s.choose(((-1, 0), (1, 0), (0, -1))), (level + 2) % 4
            at = (out[0] * size[0] * 0.55, out[1] * size[1] * 0.55, 0)
            s.add(s.choose(("sphere", "box", "cone", "pillow")), (0.2, 0.2, 0.2), at, s.solid(color), parent=block)
        x, y, z = x + s.uniform(-0.08, 0.08), y + s.uniform(-0.06, 0.06), z + tall * 0.94
    s.add(s.choose(("cone", "dome", "wedge", "torus")), (0.3, 0.26, 0.24), (x, y, z + 0.11), s.paint(3), profile=0.4)
