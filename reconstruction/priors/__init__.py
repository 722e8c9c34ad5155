"""Priors: diffusion models that tell of a picture how an object would have to look from there."""
