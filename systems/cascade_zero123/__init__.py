"""Cascade-Zero123 (Chen et al. 2023): a second network is shown what a first one makes of the object from nearby.

Both are Zero-1-to-3's. Base-0123 samples a coarse target and views near the input; Refiner-0123 gets a token of each
beside that of the input.
"""
