"""Parameters of meshes from Gaussians and of their textures."""

from typing import Literal

from pydantic import Field

from stage.parameters import Parameters


class FusionParameters(Parameters):
    """How rendered depth becomes a surface."""

    resolution: int = Field(default=128, ge=16, le=512)
    """Voxels along the object's longest side; the surface is as fine as that."""
    surface: Literal["outline", "depth"] = "outline"
    """Where depth tells it is, or as far outside as the outlines are: Gaussians that were set inside for their outlines' sake
    (splatter.inset), or that learned from pictures, lie inside what they show."""
    truncation: float = Field(default=3.0, ge=1.0, le=16.0)
    """How far from a seen surface a view tells a signed distance, in voxels."""
    views: int = Field(default=48, ge=6, le=1000)
    """Cameras, spread evenly over a sphere around the object."""
    view_size: int = Field(default=128, ge=16, le=2048)
    """Width and height of what each sees, pixels. A rasteriser widens Gaussians by half a pixel, so outlines depend on it: about
    the size of the pictures that they were made from is right, and with more a surface opens between them."""
    fov_deg: float = Field(default=30.0, ge=1.0, le=90.0)
    """Full field of view of a camera, degrees; its distance is such that the object fills the picture."""
    least_alpha: float = Field(default=0.5, gt=0.0, lt=1.0)
    """Coverage from which a pixel shows a surface; less is background."""
    least_component: float = Field(default=0.01, ge=0.0, le=1.0)
    """Components with less of the largest one's area are dropped."""


class TextureParameters(Parameters):
    """How a mesh becomes a textured file."""

    faces: int = Field(default=20_000, ge=4)
    """Most triangles; a mesh of more is decimated."""
    size: int = Field(default=1024, ge=16, le=8192)
    """Width and height of the texture, pixels."""
    timeout_seconds: float = Field(default=900.0, gt=0)
    """Wall-clock limit of Blender."""
