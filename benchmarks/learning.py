"""Whether a model learns to see unseen objects from elsewhere: `python -m benchmarks.learning` on a machine with a CUDA GPU.

The project's own stages with `configs/learning.yaml`: over 2,000 composed objects are rendered at 64 px, a model is trained on
them from scratch, and its pictures of objects that it has not seen are scored. Goals: PSNR and SSIM above both baselines, the
copied input and the mean image of the training set; at most twenty minutes of training. `data/evaluation/report.html` shows the
pictures. `--workspace FOLDER` keeps it and goes on where an earlier run ended.

Without a GPU nothing is measured and the exit status is 1. `--quick` runs the same stages with a tiny model in some minutes on
a CPU, to try the script: there the figures are no claim, and no goal.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from evaluation.methods import BASELINES
from flows.workspaces import PROJECT, chosen_parameters, prepare
from stage.workspace import Workspace

_STAGES = ("catalog", "render", "shard", "train", "evaluate")
_GOAL_MINUTES = 20.0
_QUICK = (
    "catalog.objects=12",
    "catalog.split.test=0.2",
    "render.views=4",
    "render.resolution=32",
    "train.steps=20",
    "train.batch_size=8",
    "train.data.workers=0",
    "train.zero123.unet.block_channels=[32, 32]",
    "train.zero123.unet.layers_per_block=1",
    "train.zero123.image_encoder.image_size=32",
    "train.zero123.image_encoder.hidden_size=32",
    "train.zero123.image_encoder.layers=1",
    "train.zero123.image_encoder.embedding_dim=32",
    "evaluate.views=3",
    "evaluate.training_objects=2",
    "evaluate.inference_steps=3",
)


def minutes_of_stages(workspace: Workspace, quick: bool) -> dict[str, float]:
    """Run the stages one after another; how long each took.

    Raises:
        subprocess.CalledProcessError: when one fails.
    """
    config = PROJECT / "configs" / "learning.yaml"
    prepare(workspace, chosen_parameters(PROJECT / "params.yaml", config, list(_QUICK) if quick else []))
    minutes = {}
    for stage in _STAGES:
        started = time.monotonic()
        subprocess.run([sys.executable, "-m", "cli.main", stage, "--workspace", str(workspace.root)], check=True)
        minutes[stage] = (time.monotonic() - started) / 60
    return minutes


def measure(workspace: Workspace, quick: bool) -> bool:
    """Whether all goals are met, after saying how it went."""
    minutes = minutes_of_stages(workspace, quick)
    print("minutes: " + ", ".join(f"{stage} {value:.1f}" for stage, value in minutes.items()))
    metrics = json.loads((workspace.evaluation / "metrics.json").read_text())
    for subset in ("unseen", "training"):
        for method, scores in metrics[subset].items():
            print(f"{subset} {method}: {scores['psnr']:.2f} dB, SSIM {scores['ssim']:.4f}")
    model, others = metrics["unseen"]["model"], [metrics["unseen"][name] for name in BASELINES]
    gain = {key: model[key] - max(other[key] for other in others) for key in ("psnr", "ssim")}
    print(f"pictures: {workspace.evaluation / 'gallery_unseen.png'}, {metrics['unseen_objects']} unseen objects")
    print(
        f"learning: {gain['psnr']:+.2f} dB and SSIM {gain['ssim']:+.4f} against the better baseline "
        f"after {minutes['train']:.1f} minutes of training (goals: above 0, {_GOAL_MINUTES:.0f} minutes)"
    )
    return min(gain.values()) > 0 and minutes["train"] <= _GOAL_MINUTES


def main() -> int:
    """Measure; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="try the script with a tiny model on any machine")
    parser.add_argument("--workspace", type=Path, help="a folder to keep; a temporary one otherwise")
    arguments = parser.parse_args()
    if not torch.cuda.is_available() and not arguments.quick:
        print(
            "learning: no CUDA GPU, not measured (goal: above both baselines in 20 minutes); --quick tries the script"
        )
        return 1
    with tempfile.TemporaryDirectory() as folder:
        met = measure(Workspace(arguments.workspace or Path(folder)), arguments.quick)
    if arguments.quick:
        print("learning: tried with a tiny model, which is no measurement")
        return 0
    return int(not met)


if __name__ == "__main__":
    sys.exit(main())
