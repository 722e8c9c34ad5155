"""A box whose sides tell where they are."""

import numpy as np

from geometry.gaussians import Gaussians

HALF = np.array([0.5, 0.25, 0.4])
RED, GREEN, BLUE = (0.9, 0.1, 0.1), (0.1, 0.8, 0.1), (0.1, 0.1, 0.9)


def coloured_box(spacing: float = 0.03) -> Gaussians:
    """The surface of a box of 1 × 0.5 × 0.8, green at the top (+Z), below it red at −X and blue at +X."""
    sides = []
    for axis in range(3):
        others = [other for other in range(3) if other != axis]
        steps = [np.linspace(-HALF[other], HALF[other], round(2 * HALF[other] / spacing) + 1) for other in others]
        grid = np.stack(np.meshgrid(*steps), axis=-1).reshape(-1, 2)
        for sign in (-1, 1):
            side = np.full((len(grid), 3), sign * HALF[axis])
            side[:, others] = grid
            sides.append(side)
    means = np.concatenate(sides)
    colours = np.where(means[:, :1] < 0, RED, BLUE)
    colours = np.where(means[:, 2:] > 0.2, GREEN, colours)
    count = len(means)
    return Gaussians(
        means=means,
        quaternions=np.tile([1.0, 0.0, 0.0, 0.0], (count, 1)),
        scales=np.full((count, 3), 0.6 * spacing),
        opacities=np.full(count, 0.98),
        colours=colours,
    )
