"""ZeroNVS (Sargent et al. 2024): one image of a scene and a camera to the image from there, wherever it stands and looks.

Zero-1-to-3's network, told of the whole relative camera and its field of view instead of a position on a sphere.
"""
