"""ZeroNVS from Zero-1-to-3, whose network it has but for the columns of `cc_projection` that see the pose.

Source: kylesargent/zeronvs_diffusion `main.py` (`finetune_from`).
"""

import torch

from systems.zero123.conditioning import CCProjection
from systems.zero123.initialisation import new_projection


def with_pose_columns(projection: CCProjection, dimensions: int, seed: int) -> CCProjection:
    """A projection for poses of another length: it treats embeddings as before, and its pose columns are drawn anew.

    Args:
        projection: the old one; it is given back where its poses have this length already.
        dimensions: length of the pose vector.
        seed: of the new columns, which begin as those of a new linear layer of their width do.
    """
    width = projection.config.embedding_dim
    if projection.config.pose_dim == dimensions:
        return projection
    fitting = new_projection(width, seed, dimensions)
    with torch.no_grad():
        fitting.linear.weight[:, :width].copy_(projection.linear.weight[:, :width])
        fitting.linear.bias.copy_(projection.linear.bias)
    return fitting.train(projection.training)
