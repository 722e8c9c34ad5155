"""Cameras, Gaussians and rasterisation: NumPy and PyTorch, without Blender, diffusers or file frameworks."""
