"""A request of the served model as JSON, and what it answers."""

import json
from typing import Any

import numpy as np

SIDE = 16
IMAGE = np.random.default_rng(0).random((1, SIDE, SIDE, 3), np.float32)
POSES = np.array([[0, 0, 1, 0], [0.2, 0.5, 0.8, 0.1]], np.float32)
BAD_REQUESTS: dict[str, tuple[dict[str, Any], str]] = {
    "values over 1": ({"image": IMAGE * 300}, "give sRGB in [0, 1]"),
    "values under 0": ({"image": IMAGE - 1}, "give sRGB in [0, 1]"),
    "NaN": ({"image": np.where(IMAGE > 0.5, np.nan, IMAGE)}, "image values reach from nan"),
    "3×3": ({"image": np.ones((1, 3, 3, 3))}, "image is 3×3 pixels: give 16×16"),
    "not square": ({"image": np.ones((1, SIDE, 8, 3))}, "image is 8×16 pixels: give 16×16"),
    "alpha": ({"image": np.ones((1, SIDE, SIDE, 4))}, "give (n, height, width, 3), pictures without alpha"),
    "three pictures for two poses": ({"image": np.repeat(IMAGE, 3, axis=0)}, "3 images for 2 poses"),
    "10,000 poses": ({"poses": np.tile(POSES[:1], (10_000, 1))}, "10000 poses: give 1 to 256 in a request"),
    "three numbers a pose": ({"poses": POSES[:, :3]}, "poses have shape (2, 3): give (n, 4)"),
    "infinite pose": ({"poses": POSES + np.float32("inf")}, "poses hold NaN or infinity"),
    "degrees": ({"poses": POSES * 90}, "give [Δpolar, sin Δazimuth, cos Δazimuth, Δradius], radians"),
    "no steps": ({"params": {"num_inference_steps": 0}}, "0 sampling steps of 1000 timesteps; take 1 to 1000"),
    "too many steps": ({"params": {"num_inference_steps": 1001}}, "take 1 to 1000"),
    "too much work": ({"params": {"num_inference_steps": 10_001}}, "are 20002 denoisings: give at most 20000"),
    "no such scheduler": ({"params": {"scheduler": "plms"}}, "no scheduler plms; take ddim, dpm"),
    "no such condition": ({"params": {"null_condition": "x"}}, "no null condition x; take after_projection"),
    "null": ({"params": {"eta": None}}, "eta is null: leave it out"),
    "guidance of NaN": ({"params": {"guidance_scale": float("nan")}}, "guidance_scale is nan: give 0 to 100"),
    "noise over all": ({"params": {"eta": 1.5}}, "eta is 1.5: give 0 to 1"),
    "seed under 0": ({"params": {"seed": -1}}, "seed is -1: give 0 to 2^63"),
    "seed of 70 bits": ({"params": {"seed": 2**70}}, "give 0 to 2^63"),
}
"""What replaces parts of a good request, and what the one line says that comes back under 400."""


def request(**changes: Any) -> dict[str, Any]:
    """A good request; keywords replace `image`, `poses` and `params`."""
    parts = {"image": IMAGE, "poses": POSES, "params": {}, **changes}
    inputs = {name: np.asarray(parts[name]).tolist() for name in ("image", "poses")}
    return {"inputs": inputs, "params": parts["params"]}


def is_one_line(body: str, said: str) -> bool:
    """Whether an answer's message is one short line with some words in it, and no stack trace is beside it."""
    answer = json.loads(body)
    message = answer["message"]
    return said in message and "\n" not in message and len(message) < 200 and "stack_trace" not in answer
