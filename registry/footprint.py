"""What a model costs: the bytes of its files, and the time of a picture on the machine that promotes it."""

import statistics
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from blender_render.camera_sets import View
from evaluation.parameters import EvaluateParameters
from evaluation.sampling import deterministic_torch, load_for_sampling, predict
from evaluation.protocol import ObjectViews
