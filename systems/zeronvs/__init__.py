"""ZeroNVS (Sargent et al. 2024): one image of a scene and a camera in it to the image from there.

Zero-1-to-3's network with another pose: the whole relative transform of the cameras, in units of the scene, and the
field of view.
"""
