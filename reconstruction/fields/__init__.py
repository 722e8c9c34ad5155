"""Fields: what an optimisation may shape, density and colour or a signed distance at every point of a box."""
