"""Procedural things of a household: table, chair, mug, teapot, lamp, bookshelf, camera."""

from catalog.procedural_parts import BLACK, FIRE, GLASS, GREY, QUARTER, WHITE, WOOD, Look, Shape, Sketch

SIDES = (-1, 1)


def legs(s: Sketch, shape: Shape, span: tuple[float, float], size: tuple[float, float], look: Look) -> None:
    """Four legs on the ground.

    Args:
        s: the sketch to add to.
        shape: primitive of a leg.
        span: distances between the legs' centres along x and y.
        size: thickness and height.
        look: what they look like.
    """
    for x in SIDES:
        for y in SIDES:
            at = (x * span[0] / 2, y * span[1] / 2, size[1] / 2)
            s.add(shape, (size[0], size[0], size[1]), at, look, profile=1.4)


def table(s: Sketch) -> None:
    """A table with a drawer in front, a vase at one end and a book or a ball at the other."""
    width, depth, height = s.uniform(0.9, 1.3), s.uniform(0.6, 0.8), s.uniform(0.5, 0.7)
    legs(s, s.choose(("box", "cylinder", "tapered")), (width - 0.16, depth - 0.16), (0.09, height), s.paint(1))
    top = s.add("box", (width, depth, 0.07), (0, 0, height + 0.035), s.paint(0))
    drawer = s.add("box", (width * 0.55, 0.3, 0.14), (0, -depth / 2 + 0.17, -0.1), s.solid(2), parent=top)
    s.add("sphere", (0.07, 0.07, 0.07), (0, -0.17, 0), s.solid(BLACK), parent=drawer)
    vase = s.add("cylinder", (0.2, 0.2, 0.26), (-width / 3, 0.1, 0.165), s.paint(3), profile=0.6, parent=top)
    s.add("sphere", (0.24, 0.24, 0.2), (0, 0, 0.2), s.solid(2), parent=vase)
    if s.chance(0.5):
        s.add("sphere", (0.22, 0.22, 0.22), (width / 3.2, -0.1, 0.145), s.paint(2), parent=top)
    else:
        book = s.add("box", (0.24, 0.32, 0.06), (width / 3.2, -0.08, 0.065), s.solid(2), parent=top)
        s.add("box", (0.2, 0.28, 0.07), (0.01, -0.02, 0.055), s.solid(3), parent=book)


def chair(s: Sketch) -> None:
    """A chair or an armchair: a cushion in front, a bar across the back, a bag at one side."""
    width, height = s.uniform(0.5, 0.7), s.uniform(0.38, 0.5)
    frame = s.paint(0)
    legs(s, s.choose(("box", "cylinder", "tapered")), (width - 0.09, width - 0.09), (0.08, height), frame)
    seat = s.add("box", (width, width, 0.08), (0, 0, height + 0.04), frame)
    s.add("pillow", (width * 0.86, width * 0.82, 0.12), (0, -0.02, 0.08), s.paint(1), profile=0.4, parent=seat)
    tall = s.uniform(0.5, 0.75)
    lean = (-0.14, 0, 0)
    back = s.add("box", (width, 0.07, tall), (0, width / 2 + 0.01, tall / 2), s.paint(2), turn=lean, parent=seat)
    s.add("pillow", (width * 0.7, 0.12, tall * 0.5), (0, -0.05, 0.08), s.solid(1), profile=0.5, parent=back)
    s.add("box", (width * 0.7, 0.05, 0.1), (0, 0.05, tall * 0.2), s.solid(3), parent=back)
    if s.chance(0.6):
        for x in SIDES:
            rest = s.add("box", (0.08, width * 0.8, 0.07), (x * width / 2, -0.02, 0.27), s.solid(3), parent=seat)
            s.add("box", (0.06, 0.06, 0.24), (0, -width * 0.32, -0.14), frame, parent=rest)
    side = s.choose(SIDES)
    at = (side * (width / 2 + 0.06), 0.1, -0.04)
    bag = s.add("pillow", (0.1, 0.24, 0.26), at, s.paint(3), profile=0.4, parent=seat)
    s.add("torus", (0.16, 0.16, 0.03), (0, 0, 0.14), s.solid(BLACK), turn=(0, QUARTER, 0), profile=0.15, parent=bag)


def mug(s: Sketch) -> None:
    """A mug with its handle to the right, a badge in front and perhaps a spoon."""
    width, height = s.uniform(0.6, 0.75), s.uniform(0.7, 0.9)
    body = s.add("cup", (width, width, height), (0, 0, height / 2), s.paint(0), profile=0.14)
    s.add("arc", (0.27, 0.11, height * 0.66), (width / 2 - 0.04, 0, 0), s.solid(1), parent=body)
    s.add("cylinder", (width * 0.86, width * 0.86, 0.03), (0, 0, height * 0.32), s.solid(WOOD), profile=1, parent=body)
    badge: Shape = s.choose(("sphere", "box", "cone"))
    turn = (QUARTER, 0, 0) if badge == "cone" else (0.0, 0.0, 0.0)
    s.add(badge, (0.3, 0.1, 0.3), (0, -width / 2 + 0.01, 0), s.solid(2), turn=turn, parent=body)
    s.add("torus", (width * 1.03, width * 1.03, 0.07), (0, 0, -height * 0.42), s.solid(3), profile=0.1, parent=body)
    if s.chance(0.5):
        s.add("torus", (width * 1.03, width * 1.03, 0.06), (0, 0, height * 0.48), s.solid(3), profile=0.1, parent=body)
    if s.chance(0.5):
        at, turn = (-0.1, 0.05, height * 0.36), (0, -0.2, 0)
        spoon = s.add("box", (0.07, 0.03, 0.7), at, s.solid(GREY, 0.8), turn=turn, parent=body)
        s.add("sphere", (0.13, 0.05, 0.18), (0, 0, 0.38), s.solid(GREY, 0.8), parent=spoon)
    if s.chance(0.6):
        s.add("cylinder", (width * 1.5, width * 1.5, 0.07), (0, 0, -0.035), s.paint(2), profile=1.15)


def teapot(s: Sketch) -> None:
    """A teapot: spout to the right, handle to the left, a flower in front."""
    width, height = s.uniform(0.75, 0.95), s.uniform(0.6, 0.8)
    body = s.add("sphere", (width, width, height), (0, 0, height / 2 + 0.04), s.paint(0))
    s.add("cylinder", (width * 0.6, width * 0.6, 0.1), (0, 0, 0.05), s.solid(3), profile=0.8)
    lid = s.add("dome", (width * 0.55, width * 0.55, 0.15), (0, 0, height * 0.48), s.paint(1), parent=body)
    s.add(s.choose(("sphere", "cone")), (0.13, 0.13, 0.14), (0, 0, 0.12), s.solid(2), parent=lid)
    at = (width / 2 + 0.09, 0, 0.06)
    s.add("cylinder", (0.2, 0.2, 0.5), at, s.solid(1), turn=(0, 0.75, 0), profile=0.5, parent=body)
    handle = (0.28, 0.09, height * 0.75)
    s.add("arc", handle, (-width / 2 + 0.05, 0, 0.02), s.solid(2), turn=(0, 0, 2 * QUARTER), parent=body)
    bloom = s.add("sphere", (0.15, 0.1, 0.15), (0, -width / 2, 0.05), s.solid(WHITE), parent=body)
    for x, z in ((-1, 0), (1, 0), (0, -1), (0, 1)):
        s.add("sphere", (0.13, 0.07, 0.13), (x * 0.12, 0.02, z * 0.12), s.solid(3), parent=bloom)


def lamp(s: Sketch) -> None:
    """A desk lamp whose jointed arm leans to one side and whose shade shines to the front."""
    base = s.add("cylinder", (0.55, 0.55, 0.09), (0, 0.1, 0.045), s.paint(0), profile=0.9)
    s.add("cylinder", (0.12, 0.12, 0.06), (0.12, -0.14, 0.06), s.solid(2), profile=0.8, parent=base)
    lean, bend, reach = s.uniform(0.2, 0.5) * s.choose(SIDES), s.uniform(0.9, 1.2), s.uniform(0.5, 0.65)
    foot = s.add("sphere", (0.14, 0.14, 0.14), (0, 0, 0.08), s.solid(2), turn=(-0.25, lean, 0), parent=base)
    s.add("cylinder", (0.08, 0.08, reach), (0, 0, reach / 2), s.solid(1), profile=1, parent=foot)
    joint = s.add("sphere", (0.15, 0.15, 0.15), (0, 0, reach), s.solid(2), turn=(bend, -lean, 0), parent=foot)
    arm = s.add("cylinder", (0.07, 0.07, 0.5), (0, 0, 0.25), s.solid(1), profile=1, parent=joint)
    at = (0, 0, 0.26)
    shade = s.add("cylinder", (0.5, 0.5, 0.34), at, s.paint(3), turn=(QUARTER - 0.4, 0, 0), profile=2.5, parent=arm)
    s.add("cylinder", (0.44, 0.44, 0.02), (0, 0, 0.17), s.solid(FIRE), profile=1, parent=shade)
    s.add("sphere", (0.22, 0.22, 0.22), (0, 0, 0.18), s.solid(WHITE), parent=shade)
    s.add("sphere", (0.1, 0.1, 0.1), (0, 0, -0.2), s.solid(2), parent=shade)


def bookshelf(s: Sketch) -> None:
    """A shelf, open in front, with books of every colour and one ornament; its back is one board."""
    width, rows = s.uniform(0.7, 0.95), s.choose((2, 3))
    height, board = rows * 0.4, s.paint(0)
    back = s.add("box", (width, 0.04, height), (0, 0.16, height / 2), s.paint(1))
    for x in SIDES:
        s.add("box", (0.06, 0.34, height), (x * width / 2, -0.17, 0), board, parent=back)
    for row in range(rows + 1):
        s.add("box", (width + 0.06, 0.34, 0.05), (0, -0.17, row * 0.4 - height / 2), board, parent=back)
    covers = [s.solid(index) for index in (1, 2, 3)]
    ornament = s.choose(range(rows))
    for row in range(rows):
        _books(s, width, row * 0.4 + 0.03, 3 if row == ornament else 6, covers)
    at = (width / 2 - 0.17, -0.02, ornament * 0.4 + 0.15)
    s.add(s.choose(("sphere", "cone", "torus")), (0.2, 0.2, 0.24), at, s.paint(2), profile=0.35)


def camera(s: Sketch) -> None:
    """A photo camera: lens and flash in front, screen at the back, release and dial on top."""
    width, height = s.uniform(0.9, 1.1), s.uniform(0.5, 0.62)
    body = s.add("box", (width, 0.34, height), (0, 0, height / 2), s.paint(0))
    s.add("box", (width * 1.01, 0.35, height * 0.25), (0, 0, -height * 0.3), s.solid(1), parent=body)
    at = (0.06, -0.28, 0)
    lens = s.add("cylinder", (0.42, 0.42, 0.26), at, s.paint(2), turn=(QUARTER, 0, 0), profile=0.85, parent=body)
    s.add("torus", (0.38, 0.38, 0.07), (0, 0, 0.13), s.solid(BLACK), profile=0.2, parent=lens)
    s.add("dome", (0.27, 0.27, 0.06), (0, 0, 0.16), s.solid(GLASS), parent=lens)
    s.add("box", (0.17, 0.05, 0.12), (-width * 0.34, -0.18, height * 0.3), s.solid(WHITE), parent=body)
    s.add("tapered", (0.32, 0.28, 0.16), (0.06, 0, height / 2 + 0.08), s.solid(3), profile=0.6, parent=body)
    s.add("cylinder", (0.13, 0.13, 0.08), (-width * 0.36, 0, height / 2 + 0.04), s.solid(2), profile=0.9, parent=body)
    s.add("cylinder", (0.17, 0.17, 0.06), (width * 0.36, 0, height / 2 + 0.03), s.solid(GREY, 0.7), parent=body)
    s.add("box", (width * 0.55, 0.04, height * 0.6), (-0.08, 0.18, 0), s.solid(GLASS), parent=body)


def _books(s: Sketch, width: float, floor: float, count: int, covers: list[Look]) -> None:
    """A row of books of different heights, filled from the left, standing at height `floor`."""
    thick = (width - 0.12) / 6
    for index in range(count):
        tall = s.choose((0.24, 0.28, 0.33))
        at = (-width / 2 + 0.06 + thick * (index + 0.5), -0.02, floor + tall / 2)
        s.add("box", (thick * 0.9, 0.24, tall), at, s.choose(covers))
