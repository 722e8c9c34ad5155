"""Procedural vehicles: rocket, car, truck, aeroplane, sailboat, locomotive, helicopter. All of them drive to −Y."""

from catalog.procedural_parts import BLACK, FIRE, GLASS, GREY, QUARTER, WHITE, WOOD, Look, Sketch

SIDES = (-1, 1)
AHEAD = (QUARTER, 0.0, 0.0)
"""Turns a part's +Z to the front (−Y)."""
ACROSS = (0.0, QUARTER, 0.0)
"""Turns a part's +Z to +X."""


def rocket(s: Sketch) -> None:
    """A rocket with a porthole and a door in front and fins of three colours."""
    width, height = s.uniform(0.3, 0.38), s.uniform(0.6, 0.8)
    hull = s.add("cylinder", (width, width, height), (0, 0, height / 2 + 0.28), s.paint(0), profile=0.85)
    nose = s.add("cone", (width * 0.86, width * 0.86, 0.34), (0, 0, height / 2 + 0.17), s.paint(1), parent=hull)
    s.add("sphere", (0.07, 0.07, 0.07), (0, 0, 0.18), s.solid(2), parent=nose)
    window = s.add("sphere", (0.2, 0.08, 0.2), (0, -width * 0.45, height * 0.22), s.solid(GLASS), parent=hull)
    s.add("torus", (0.23, 0.23, 0.06), (0, -0.02, 0), s.solid(WHITE), turn=AHEAD, profile=0.2, parent=window)
    s.add("box", (0.15, 0.06, 0.26), (0, -width * 0.47, -height * 0.25), s.solid(2), parent=hull)
    s.add("box", (0.1, 0.08, 0.3), (0, width * 0.46, 0), s.solid(BLACK), parent=hull)
    for index, turn in enumerate((-QUARTER / 3, 2 * QUARTER + QUARTER / 3, QUARTER)):
        hub = s.add("cylinder", (0.1, 0.1, 0.1), (0, 0, -height / 2), s.solid(GREY), turn=(0, 0, turn), parent=hull)
        fin = s.solid(index + 1)
        s.add("wedge", (0.3, 0.05, 0.44), (width / 2 + 0.11, 0, 0.06), fin, profile=0, parent=hub)
    s.add("cylinder", (0.26, 0.26, 0.14), (0, 0, -height / 2 - 0.06), s.solid(GREY, 0.7), profile=0.6, parent=hull)
    s.add("cone", (0.2, 0.2, 0.26), (0, 0, 0.13), s.solid(FIRE), turn=(2 * QUARTER, 0, 0))


def car(s: Sketch) -> None:
    """A car: lamps and grille in front, red lamps behind, doors of two colours, a spoiler or luggage on the roof."""
    width, length = s.uniform(0.52, 0.62), s.uniform(1.0, 1.25)
    paint = s.paint(0)
    body = s.add("pillow", (width, length, 0.3), (0, 0, 0.27), paint, profile=0.7)
    at, size = (0.0, length * 0.09, 0.24), (width * 0.86, length * 0.55, 0.26)
    s.add("tapered", size, at, s.solid(GLASS), profile=0.72, parent=body)
    s.add("box", (width * 0.64, length * 0.4, 0.03), (0, length * 0.09, 0.38), s.paint(1), parent=body)
    _wheels(s, (width + 0.02, length * 0.6), 0.27, s.solid(2))
    for x in SIDES:
        s.add("sphere", (0.13, 0.08, 0.11), (x * width * 0.3, -length * 0.47, 0.02), s.solid(WHITE), parent=body)
        at = (x * width * 0.32, length * 0.47, 0.03)
        s.add("box", (0.12, 0.06, 0.07), at, s.solid((0.85, 0.05, 0.05)), parent=body)
    s.add("box", (width * 0.4, 0.06, 0.08), (0, -length * 0.49, -0.06), s.solid(BLACK), parent=body)
    for x, color in ((-1, 1), (1, 3)):
        s.add("box", (0.03, length * 0.28, 0.15), (x * width * 0.49, 0.04, 0.01), s.solid(color), parent=body)
    s.add("cylinder", (0.02, 0.02, 0.3), (width * 0.34, -length * 0.2, 0.26), s.solid(BLACK), parent=body)
    s.add("box", (width * 0.3, length * 0.3, 0.02), (0, -length * 0.3, 0.14), s.solid(3), parent=body)
    if s.chance(0.5):
        s.add("box", (width, 0.1, 0.03), (0, length * 0.44, 0.26), s.solid(3), parent=body)
        s.add("box", (width * 0.5, 0.04, 0.16), (0, length * 0.44, 0.18), s.solid(BLACK), parent=body)
    else:
        s.add("box", (width * 0.5, length * 0.28, 0.12), (-0.03, length * 0.1, 0.45), s.paint(3), parent=body)


def truck(s: Sketch) -> None:
    """A lorry: a cab in front and a load behind that is a box, a tank or gravel."""
    width, length = s.uniform(0.46, 0.54), s.uniform(1.15, 1.35)
    bed = s.add("box", (width * 0.9, length, 0.08), (0, 0, 0.25), s.solid(GREY))
    cab = s.add("box", (width, 0.34, 0.46), (0, -length / 2 + 0.12, 0.27), s.paint(0), parent=bed)
    s.add("box", (width * 0.86, 0.04, 0.18), (0, -0.17, 0.09), s.solid(GLASS), parent=cab)
    s.add("box", (width * 1.02, 0.18, 0.14), (0, -0.02, 0.1), s.solid(GLASS), parent=cab)
    for x in SIDES:
        s.add("sphere", (0.1, 0.06, 0.1), (x * width * 0.34, -0.17, -0.14), s.solid(WHITE), parent=cab)
    _wheels(s, (width, length * 0.66), 0.26, s.solid(2))
    s.add("cylinder", (0.07, 0.07, 0.5), (width * 0.44, 0.17, 0.1), s.solid(GREY, 0.7), profile=1, parent=cab)
    for x, color in ((-1, 2), (1, 3)):
        s.add("box", (0.03, 0.2, 0.16), (x * width * 0.5, 0.0, -0.1), s.solid(color), parent=cab)
    at, size, load = (0.0, 0.17, 0.3), (width, length * 0.64, 0.5), s.choose(("box", "tank", "gravel"))
    if load == "box":
        box = s.add("box", size, at, s.paint(1), parent=bed)
        s.add("box", (width * 0.8, 0.03, 0.4), (0, size[1] / 2, 0), s.solid(3), parent=box)
    elif load == "tank":
        s.add("capsule", (width, size[2], size[1]), at, s.paint(1), turn=AHEAD, parent=bed)
        s.add("cylinder", (0.16, 0.16, 0.1), (0, 0.17, 0.58), s.solid(3), parent=bed)
    else:
        s.add("tapered", (width, size[1], 0.28), (0, 0.17, 0.18), s.paint(1), profile=1.25, parent=bed)
        s.add("dome", (width * 0.85, size[1] * 0.85, 0.22), (0, 0.17, 0.4), s.paint(3), parent=bed)


def aeroplane(s: Sketch) -> None:
    """A propeller plane in flight; each wing tip has its own colour."""
    length, span = s.uniform(1.0, 1.2), s.uniform(1.1, 1.4)
    hull = s.add("capsule", (0.26, 0.28, length), (0, 0, 0.35), s.paint(0), turn=AHEAD)
    wing = s.add("box", (span, 0.28, 0.045), (0, -0.12, 0.36 + s.choose((-0.05, 0.12))), s.paint(1))
    s.add("box", (span * 0.14, 0.29, 0.055), (-span * 0.43, 0, 0), s.solid(2), parent=wing)
    s.add("box", (span * 0.14, 0.29, 0.055), (span * 0.43, 0, 0), s.solid(3), parent=wing)
    s.add("box", (0.48, 0.17, 0.035), (0, 0, -length / 2 + 0.1), s.solid(2), turn=AHEAD, parent=hull)
    turn = (0, 0, -QUARTER)
    s.add("wedge", (0.24, 0.04, 0.3), (0, length / 2 - 0.11, 0.58), s.paint(3), turn=turn, profile=0)
    s.add("dome", (0.2, 0.3, 0.15), (0, -0.22, 0.46), s.solid(GLASS))
    nose = s.add("cone", (0.13, 0.13, 0.14), (0, 0, length / 2 + 0.04), s.solid(3), parent=hull)
    s.add("box", (0.07, 0.55, 0.025), (0, 0, 0), s.solid(BLACK), turn=(0, 0, s.uniform(0, 3)), parent=nose)
    for x in SIDES:
        s.add("cylinder", (0.14, 0.14, 0.06), (x * 0.2, -0.2, 0.1), s.solid(BLACK), turn=ACROSS, profile=1)
        s.add("box", (0.03, 0.03, 0.22), (x * 0.16, -0.2, 0.19), s.solid(GREY), turn=(0, -x * 0.35, 0))


def sailboat(s: Sketch) -> None:
    """A sailing boat: a sharp bow in front, a cabin, two sails of different colours and a pennant."""
    width, length = s.uniform(0.4, 0.5), s.uniform(0.75, 0.95)
    hull = s.add("tapered", (width, length * 0.7, 0.24), (0, 0.1, 0.12), s.paint(0), profile=1.2)
    at, bow = (0, -length * 0.35 - width * 0.4, 0.03), (width * 0.92, 0.18, width * 0.82)
    s.add("wedge", bow, at, s.solid(1), turn=AHEAD, parent=hull)
    s.add("box", (width * 1.04, length * 0.7, 0.05), (0, 0, 0.12), s.solid(WOOD), parent=hull)
    cabin = s.add("box", (width * 0.6, 0.26, 0.16), (0, 0.16, 0.2), s.solid(WHITE), parent=hull)
    s.add("box", (width * 0.62, 0.12, 0.07), (0, 0, 0.02), s.solid(GLASS), parent=cabin)
    tall = s.uniform(0.85, 1.05)
    mast = s.add("cylinder", (0.05, 0.05, tall), (0, -0.08, 0.1 + tall / 2), s.solid(WOOD), profile=0.8, parent=hull)
    swing = s.uniform(-0.5, 0.5)
    turn = (0, 0, QUARTER + swing)
    boom = s.add("sphere", (0.06, 0.06, 0.06), (0, 0, -tall / 2 + 0.24), s.solid(BLACK), turn=turn, parent=mast)
    s.add("wedge", (0.5, 0.03, tall * 0.72), (0.29, 0, tall * 0.36), s.paint(2), profile=0, parent=boom)
    jib = s.paint(3)
    s.add("wedge", (0.34, 0.03, tall * 0.55), (0, -0.21, -0.06), jib, turn=(0, 0, QUARTER), profile=1, parent=mast)
    s.add("wedge", (0.1, 0.02, 0.18), (0, 0.1, tall / 2), s.solid(1), turn=(0, QUARTER, QUARTER), parent=mast)


def locomotive(s: Sketch) -> None:
    """A steam engine: boiler, chimney and lamp in front, the driver's cab and coal behind."""
    width, length = s.uniform(0.42, 0.5), s.uniform(1.0, 1.2)
    frame = s.add("box", (width, length, 0.1), (0, 0, 0.24), s.solid(BLACK))
    at = (0, -length * 0.17, 0.23)
    boiler = s.add("cylinder", (0.38, 0.38, length * 0.62), at, s.paint(0), turn=AHEAD, profile=1, parent=frame)
    s.add("cylinder", (0.3, 0.3, 0.05), (0, 0, length * 0.32), s.solid(1), profile=0.9, parent=boiler)
    s.add("sphere", (0.11, 0.11, 0.1), (0, 0.12, length * 0.33), s.solid(WHITE), parent=boiler)
    cab = s.add("box", (width, 0.36, 0.5), (0, length * 0.31, 0.3), s.paint(1), parent=frame)
    s.add("box", (width * 1.16, 0.46, 0.06), (0, 0, 0.28), s.solid(2), parent=cab)
    s.add("box", (width * 1.02, 0.17, 0.17), (0, 0, 0.1), s.solid(GLASS), parent=cab)
    s.add("box", (width * 0.4, 0.04, 0.32), (0, 0.18, -0.05), s.solid(3), parent=cab)
    funnel = s.add("cylinder", (0.2, 0.2, 0.3), (0, -length * 0.36, 0.54), s.paint(3), profile=1.7, parent=frame)
    s.add("torus", (0.23, 0.23, 0.06), (0, 0, 0.14), s.solid(2), profile=0.3, parent=funnel)
    s.add("dome", (0.18, 0.18, 0.14), (0, -length * 0.08, 0.48), s.solid(2), parent=frame)
    for x, color in ((-1, 3), (1, 2)):
        s.add("box", (0.03, length * 0.4, 0.06), (x * 0.2, -length * 0.12, 0.26), s.solid(color), parent=frame)
    s.add("capsule", (0.09, 0.09, 0.22), (0.14, 0.02, 0.45), s.solid(WHITE), parent=frame)
    at, turn = (0, -length / 2 - 0.09, -0.07), (0, 0, QUARTER)
    s.add("wedge", (0.2, width, 0.2), at, s.solid(2), turn=turn, profile=1, parent=frame)
    _wheels(s, (width + 0.04, length * 0.66), 0.26, s.solid(2))
    _wheels(s, (width + 0.04, 0.0), 0.26, s.solid(2))


def helicopter(s: Sketch) -> None:
    """A helicopter: glass nose in front, a tail boom behind, two rotors, skids."""
    body = s.add("sphere", (0.46, s.uniform(0.62, 0.72), 0.46), (0, -0.15, 0.4), s.paint(0))
    s.add("sphere", (0.38, 0.36, 0.34), (0, -0.2, 0.04), s.solid(GLASS), parent=body)
    reach = s.uniform(0.5, 0.65)
    at, boom = (0.0, 0.26 + reach / 2, 0.06), (0.15, 0.15, reach)
    s.add("cylinder", boom, at, s.paint(1), turn=AHEAD, profile=1.8, parent=body)
    at, turn = (0.0, 0.2 + reach, 0.19), (0, 0, -QUARTER)
    s.add("wedge", (0.2, 0.04, 0.28), at, s.solid(2), turn=turn, profile=0, parent=body)
    s.add("box", (0.02, 0.34, 0.05), (0.06, 0.22 + reach, 0.08), s.solid(BLACK), turn=(0.5, 0, 0), parent=body)
    turn = (0, 0, s.uniform(0, 1.5))
    mast = s.add("cylinder", (0.08, 0.08, 0.2), (0, 0, 0.28), s.solid(GREY, 0.7), turn=turn, parent=body)
    for turn_z, color in ((0.0, 3), (QUARTER, 2)):
        s.add("box", (1.25, 0.09, 0.025), (0, 0, 0.1), s.solid(color), turn=(0, 0, turn_z), parent=mast)
    for x in SIDES:
        skid = s.add("capsule", (0.06, 0.06, 0.7), (x * 0.22, -0.12, 0.04), s.solid(3), turn=AHEAD)
        for y in SIDES:
            at, turn = (-x * 0.04, 0.1, y * 0.16), (0, 0, x * 0.3)
            s.add("box", (0.035, 0.2, 0.035), at, s.solid(GREY), turn=turn, parent=skid)
    s.add("box", (0.48, 0.16, 0.2), (0, 0.09, 0.0), s.solid(2), parent=body)


def _wheels(s: Sketch, span: tuple[float, float], diameter: float, hub: Look) -> None:
    """Wheels on the ground: four, or one axle when `span[1]` is 0.

    Args:
        s: the sketch to add to.
        span: distances between the wheels' centres along x and y.
        diameter: of a wheel.
        hub: look of the hubcaps.
    """
    rubber = s.solid(BLACK)
    for x in SIDES:
        for y in sorted({-span[1] / 2, span[1] / 2}):
            at = (x * span[0] / 2, y, diameter / 2)
            tyre = s.add("cylinder", (diameter, diameter, 0.11), at, rubber, turn=(0, x * QUARTER, 0), profile=1)
            s.add("dome", (diameter * 0.55, diameter * 0.55, 0.05), (0, 0, 0.06), hub, parent=tyre)
