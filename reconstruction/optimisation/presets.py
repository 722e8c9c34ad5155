"""What is changed of the published parameters where there is no GPU."""

from typing import Any

from reconstruction.optimisation.parameters import SMALL_NEUS

_SMALL_NETWORK = {
    "levels": 6,
    "finest": 128,
    "table": 1 << 15,
    "width": 32,
    "samples": 48,
    "phases": [{"size": 32, "batch": 1, "input_size": 32}],
}
_STEPS = {"neus": 1200, "sjc": 600, "sds": 300, "anchored-sds": 300}


def small(method: str) -> dict[str, Any]:
    """Parameters for a CPU: hours of the published ones become minutes, and surfaces are coarser.

    Args:
        method: of `ReconstructParameters`, as `sjc`.
    """
    return {
        "loop": {"steps": _STEPS[method]},
        "neus": SMALL_NEUS.model_dump(mode="json"),
        "sjc": {"resolution": 50, "samples": 64},
        "sds": _SMALL_NETWORK,
        "anchored_sds": {**_SMALL_NETWORK, "anchor_steps": 50},
        "mesh": {"resolution": 96},
        "texture": {"faces": 10_000, "size": 512},
    }
