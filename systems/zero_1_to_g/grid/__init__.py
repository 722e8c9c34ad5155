"""Zero-1-to-G's first generation, that of its published README: six views in one picture of 3×2 tiles by Zero123++.

Source: mengxuyiGit/LGM, branch `zero123plus_v2_autodecoder`; docs/systems/zero_1_to_g_grid.md.
"""
