"""Scoring folders of pictures that any program made against folders of true ones: `viewforge evaluate --predictions`."""
