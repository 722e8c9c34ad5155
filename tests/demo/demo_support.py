"""A studio on tiny models, its page on loopback, and a model that always makes the same two plates of Gaussians."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
import uvicorn
from torch import Tensor

from demo.jobs import Job, JobState
from demo.server import demo_server
from demo.studio import Studio
from demo.visitors import Visitor
from geometry.gaussians import Gaussians
from geometry.splatter_tensor import channels_from_gaussians
from services.ports import any_free
from systems.gaussian_pipeline import GaussianPipeline
from systems.zero123.modules import build_modules
from systems.zero123.parameters import AutoencoderParameters, ImageEncoderParameters, UNetParameters, Zero123Parameters
from systems.zero123.pipeline import Zero123Pipeline

RED, BLUE = (0.9, 0.1, 0.1), (0.1, 0.1, 0.9)
_TINY = Zero123Parameters(
    unet=UNetParameters(block_channels=(32, 32)),
    autoencoder=AutoencoderParameters(factor=4),
    image_encoder=ImageEncoderParameters(
        image_size=16, patch_size=8, hidden_size=16, layers=1, heads=2, embedding_dim=16
    ),
)


def tiny_pipeline(folder: Path, seed: int = 0) -> Path:
    """A pipeline folder of Zero-1-to-3 with random weights, for pictures of 16 pixels."""
    torch.set_num_threads(1)
    modules = build_modules(_TINY, seed)
    modules.unet.register_to_config(sample_size=4)
    parts = (modules.unet, modules.cc_projection, modules.image_encoder, modules.vae, modules.scheduler)
    Zero123Pipeline(*parts).save_pretrained(folder)
    return folder


def plates() -> Gaussians:
    """Two plates of 12 × 12 Gaussians, red towards the input's camera (+X), blue away from it; higher than wide."""
    y, z = np.meshgrid(np.linspace(-0.2, 0.2, 12), np.linspace(-0.4, 0.4, 12))
    means = [np.stack([np.full(144, x), y.ravel(), z.ravel()], axis=1) for x in (0.1, -0.1)]
    turns, scales = np.tile([1.0, 0.0, 0.0, 0.0], (288, 1)), np.full((288, 3), 0.05)
    return Gaussians(np.concatenate(means), turns, scales, np.full(288, 0.95), np.repeat([RED, BLUE], 144, axis=0))


class AlwaysPlates(GaussianPipeline):
    """Whatever it is shown."""

    image_size = 64

    def __init__(self) -> None:
        super().__init__()
        self.register_to_config()

    def sample_splatters(self, images: Any, elevations: Tensor, **options: Any) -> Tensor:  # noqa: ARG002 - of the interface
        """One view of 288 Gaussians, in as many steps as are asked for."""
        for step in range(options["num_inference_steps"]):
            options["callback_on_step_end"](self, step, torch.tensor(step), {})
        return torch.from_numpy(channels_from_gaussians(plates(), 12, 24))[None, None].clone()


@contextmanager
def serving(studio: Studio, credentials: tuple[str, str] | None = None) -> Iterator[str]:
    """The address of a studio's page, served by a thread of this process."""
    port = any_free()
    application = demo_server(studio, credentials, ("127.0.0.1",))
    server = uvicorn.Server(uvicorn.Config(application, host="127.0.0.1", port=port, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        deadline = time.monotonic() + 60.0
        while not server.started:
            assert time.monotonic() < deadline, "the page did not start"
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}/"
    finally:
        server.should_exit = server.force_exit = True
        thread.join(20.0)


def visiting(studio: Studio, name: str, picture: Path) -> Visitor:
    """A visitor whose picture is prepared."""
    visitor = studio.visitors.of(name)
    studio.accept(visitor, picture)
    studio.prepare(visitor, key(studio), "auto")
    return visitor


def key(studio: Studio) -> str:
    """Of the model that is offered first."""
    return studio.catalogue.offered()[0].key


def finished(job: Job) -> Any:
    """The result of a job that succeeds."""
    assert job.wait(60)
    assert job.state == JobState.DONE, job.error
    return job.result
