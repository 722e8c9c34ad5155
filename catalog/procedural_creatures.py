"""Procedural creatures: robot, snowman, dog, duck, fish. Their faces look to −Y."""

from catalog.procedural_household import legs
from catalog.procedural_parts import BLACK, FIRE, QUARTER, WHITE, WOOD, Shape, Sketch, Vector

SIDES = (-1, 1)
AHEAD = (QUARTER, 0.0, 0.0)


def robot(s: Sketch) -> None:
    """A robot with a panel on its chest and a pack on its back; shoulders, arms and hands hang on one another."""
    width, tall = s.uniform(0.4, 0.52), s.uniform(0.4, 0.5)
    torso = s.add(s.choose(("box", "tapered")), (width, 0.3, tall), (0, 0, 0.36 + tall / 2), s.paint(0), profile=1.3)
    s.add("box", (width * 0.5, 0.05, tall * 0.4), (0, -0.15, 0.03), s.solid(WHITE), parent=torso)
    for index, x in enumerate((-1, 0, 1)):
        s.add("sphere", (0.06, 0.05, 0.06), (x * 0.07, -0.175, 0.06), s.solid(index + 1), parent=torso)
    s.add("box", (width * 0.6, 0.14, tall * 0.6), (0, 0.2, 0.02), s.paint(3), parent=torso)
    at = (0.0, 0.0, tall / 2 + 0.15)
    head = s.add(s.choose(("box", "cylinder", "pillow")), (0.34, 0.3, 0.26), at, s.paint(1), profile=1, parent=torso)
    eyes(s, head, (0.16, -0.15, 0.04), 0.1)
    s.add("box", (0.18, 0.04, 0.04), (0, -0.15, -0.07), s.solid(BLACK), parent=head)
    mast = s.add("cylinder", (0.03, 0.03, 0.16), (0.08, 0, 0.2), s.solid(BLACK), parent=head)
    s.add("sphere", (0.09, 0.09, 0.09), (0, 0, 0.1), s.solid(2), parent=mast)
    for x in SIDES:
        lift = s.uniform(0.1, 1.0) if x > 0 else -0.15
        at = (x * (width / 2 + 0.07), 0.0, tall * 0.36)
        joint = s.add("sphere", (0.16, 0.16, 0.16), at, s.solid(2), turn=(lift, 0, 0), parent=torso)
        arm = s.add("box", (0.1, 0.1, 0.36), (0, 0, -0.2), s.solid(2 if x > 0 else 3), parent=joint)
        s.add("sphere", (0.14, 0.14, 0.14), (0, 0, -0.2), s.solid(1), parent=arm)
        s.add("box", (0.14, 0.15, 0.34), (x * width * 0.26, 0, 0.2), s.solid(3 if x > 0 else 2))
        s.add("pillow", (0.19, 0.28, 0.12), (x * width * 0.26, -0.05, 0.06), s.solid(1), profile=0.5)


def snowman(s: Sketch) -> None:
    """A snowman with a hat, a carrot, a scarf that hangs to one side, and a broom."""
    snow = s.solid(WHITE)
    belly = s.add("sphere", (0.62, 0.62, 0.55), (0, 0, 0.26), snow)
    chest = s.add("sphere", (0.46, 0.46, 0.44), (0, 0, 0.38), snow, parent=belly)
    head = s.add("sphere", (0.34, 0.34, 0.33), (0, 0, 0.32), snow, parent=chest)
    eyes(s, head, (0.13, -0.14, 0.05), 0.05)
    s.add("cone", (0.08, 0.08, 0.24), (0, -0.25, 0), s.solid(FIRE), turn=AHEAD, parent=head)
    hat = s.add("cylinder", (0.44, 0.44, 0.04), (0, 0, 0.13), s.solid(0), turn=(-0.12, 0.1, 0), profile=1, parent=head)
    s.add(s.choose(("cylinder", "cone", "dome")), (0.3, 0.3, 0.28), (0, 0, 0.15), s.paint(0), profile=0.9, parent=hat)
    s.add("torus", (0.33, 0.33, 0.06), (0, 0, 0.05), s.solid(1), profile=0.15, parent=hat)
    scarf = s.add("torus", (0.4, 0.4, 0.12), (0, 0, 0.18), s.paint(2), profile=0.3, parent=chest)
    s.add("box", (0.12, 0.05, 0.34), (0.11, -0.2, -0.15), s.solid(2), turn=(-0.25, 0, 0), parent=scarf)
    for z in (-0.08, 0.04):
        s.add("sphere", (0.07, 0.05, 0.07), (0, -0.22, z), s.solid(3), parent=chest)
    for x in SIDES:
        turn = (0.2, x * 1.1, 0)
        arm = s.add("cylinder", (0.045, 0.045, 0.36), (x * 0.32, -0.03, 0.08), s.solid(WOOD), turn=turn, parent=chest)
        s.add("sphere", (0.12, 0.12, 0.12), (0, 0, 0.18), s.solid(3 if x > 0 else 1), parent=arm)
    s.add("cylinder", (0.04, 0.04, 0.9), (-0.46, -0.06, 0.5), s.solid(WOOD), profile=1)
    s.add("cone", (0.2, 0.12, 0.26), (-0.46, -0.06, 0.98), s.paint(3))


def dog(s: Sketch) -> None:
    """A dog: long ears, a collar, a spot on one side, its tail up."""
    length, height = s.uniform(0.6, 0.8), s.uniform(0.22, 0.36)
    coat = s.paint(0)
    legs(s, "cylinder", (0.22, length - 0.16), (0.12, height + 0.06), s.solid(1))
    body = s.add("pillow", (0.36, length, 0.34), (0, 0, height + 0.15), coat, profile=0.25)
    neck = s.add("cylinder", (0.22, 0.22, 0.3), (0, -length * 0.42, 0.18), s.solid(0), turn=(0.5, 0, 0), parent=body)
    s.add("torus", (0.28, 0.28, 0.08), (0, 0, 0.0), s.solid(3), profile=0.25, parent=neck)
    head = s.add("pillow", (0.32, 0.32, 0.3), (0, -0.02, 0.22), coat, turn=(-0.5, 0, 0), profile=0.3, parent=neck)
    snout = s.add("pillow", (0.18, 0.22, 0.15), (0, -0.2, -0.05), s.solid(WHITE), profile=0.3, parent=head)
    s.add("sphere", (0.09, 0.08, 0.07), (0, -0.11, 0.05), s.solid(BLACK), parent=snout)
    eyes(s, head, (0.15, -0.14, 0.06), 0.075)
    for x in SIDES:
        ear = (0.07, 0.15, 0.28)
        s.add("pillow", ear, (x * 0.17, 0.03, -0.02), s.solid(1), turn=(0, -x * 0.2, 0), profile=0.2, parent=head)
    lift = s.uniform(0.3, 0.9)
    s.add("capsule", (0.08, 0.08, 0.36), (0, length * 0.52, 0.22), s.solid(2), turn=(-lift, 0, 0), parent=body)
    s.add("sphere", (0.06, length * 0.34, 0.2), (s.choose(SIDES) * 0.165, 0.08, 0.02), s.solid(2), parent=body)
    s.add("pillow", (0.38, length * 0.3, 0.06), (0, 0.05, 0.16), s.paint(3), profile=0.5, parent=body)


def duck(s: Sketch) -> None:
    """A duck with a beak in front, a raised tail, and a hat or a rubber ring."""
    length = s.uniform(0.75, 0.9)
    body = s.add("sphere", (0.56, length, 0.5), (0, 0, 0.27), s.paint(0))
    tail = s.add("cone", (0.26, 0.12, 0.34), (0, length * 0.47, 0.12), s.solid(0), turn=(-1.0, 0, 0), parent=body)
    s.add("sphere", (0.1, 0.1, 0.1), (0, 0, 0.16), s.solid(1), parent=tail)
    head = s.add("sphere", (0.4, 0.4, 0.4), (0, -length * 0.3, 0.4), s.solid(0), parent=body)
    eyes(s, head, (0.2, -0.15, 0.07), 0.09)
    s.add("sphere", (0.24, 0.28, 0.07), (0, -0.25, -0.02), s.solid(FIRE), turn=(0.15, 0, 0), parent=head)
    s.add("sphere", (0.2, 0.22, 0.05), (0, -0.22, -0.07), s.solid(FIRE), turn=(-0.1, 0, 0), parent=head)
    for x in SIDES:
        wing = (0.12, length * 0.5, 0.28)
        s.add("sphere", wing, (x * 0.27, 0.08, 0.04), s.paint(1 if x > 0 else 2), turn=(-0.25, 0, 0), parent=body)
        s.add("box", (0.16, 0.26, 0.04), (x * 0.14, -0.2, 0.02), s.solid(FIRE))
    if s.chance(0.5):
        at = (0, 0.02, 0.17)
        hat = s.add("cylinder", (0.34, 0.34, 0.03), at, s.solid(3), turn=(-0.15, 0, 0), profile=1, parent=head)
        at = (0, 0, 0.11)
        s.add(s.choose(("cylinder", "cone", "dome")), (0.22, 0.22, 0.2), at, s.paint(3), profile=0.9, parent=hat)
    else:
        at = (0, -length * 0.2, 0.19)
        s.add("torus", (0.5, 0.5, 0.14), at, s.paint(3), turn=(0.25, 0, 0), profile=0.28, parent=body)


def fish(s: Sketch) -> None:
    """A fish over a stand; each flank has its own spots."""
    length = s.uniform(0.8, 1.0)
    body = s.add("sphere", (0.34, length, 0.52), (0, 0, 0.5), s.paint(0))
    eyes(s, body, (0.24, -length * 0.33, 0.08), 0.12)
    s.add("torus", (0.16, 0.16, 0.09), (0, -length * 0.49, -0.02), s.solid(1), turn=AHEAD, profile=0.4, parent=body)
    tail = s.paint(1)
    for z in SIDES:
        turn = (z * 0.6 - QUARTER, 0, 0)
        at = (0, length * 0.56, z * 0.13)
        s.add("cone", (0.08, 0.26, 0.4), at, tail, turn=(turn[0] + 2 * QUARTER, 0, 0), parent=body)
    s.add("wedge", (0.44, 0.05, 0.24), (0, 0.04, 0.32), s.solid(2), turn=(0, 0, QUARTER), profile=0.9, parent=body)
    for x in SIDES:
        fin: Vector = (0.05, 0.28, 0.16)
        s.add("sphere", fin, (x * 0.2, -0.02, -0.1), s.solid(3), turn=(0.5, -x * 0.6, 0), parent=body)
        shape: Shape = "sphere" if x > 0 else "box"
        for y in (0.08, 0.24):
            s.add(shape, (0.05, 0.13, 0.13), (x * 0.155, y * length, 0.06), s.solid(2 if x > 0 else 3), parent=body)
    s.add("cylinder", (0.06, 0.06, 0.3), (0, 0, 0.16), s.solid(BLACK), profile=1)
    s.add("cylinder", (0.4, 0.5, 0.06), (0, 0, 0.03), s.solid(3), profile=0.9)


def eyes(s: Sketch, head: str, at: Vector, diameter: float) -> None:
    """Two eyes that look to the front.

    Args:
        s: the sketch to add to.
        head: the part that they sit on.
        at: distance between the eyes, then y and z in the frame of the head.
        diameter: of the white; an eye smaller than 0.06 is only a pupil.
    """
    for x in SIDES:
        place = (x * at[0] / 2, at[1], at[2])
        if diameter < 0.06:
            s.add("sphere", (diameter,) * 3, place, s.solid(BLACK), parent=head)
        else:
            white = s.add("sphere", (diameter,) * 3, place, s.solid(WHITE), parent=head)
            pupil = (diameter * 0.55, diameter * 0.3, diameter * 0.55)
            s.add("sphere", pupil, (x * diameter * 0.1, -diameter * 0.42, 0), s.solid(BLACK), parent=white)
