"""Zero-1-to-3 (Liu et al. 2023): one image and a relative camera pose to the image from there.

A latent diffusion UNet sees the clean latent of the input view beside the noisy one of the target view, and one
cross-attention token that joins the input view's CLIP embedding with the relative pose.
"""
