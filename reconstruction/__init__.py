"""From Gaussians to a surface: a triangle mesh by fusion of rendered depth, and a textured GLB of it by Blender."""
