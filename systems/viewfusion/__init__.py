"""ViewFusion: the views of an object one after another, each denoised from all that are there already; without training.

Source: Yang et al. 2024, "ViewFusion: Towards Multi-View Consistency via Interpolated Denoising", code Wi-sc/ViewFusion.
"""
