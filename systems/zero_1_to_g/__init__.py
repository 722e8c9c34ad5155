"""Zero-1-to-G: one picture to the splatter images of six views, as attribute images that one diffusion makes together.

This folder is the system of the paper (variant B); `grid/` is the earlier generation of the published README (variant A).
"""
