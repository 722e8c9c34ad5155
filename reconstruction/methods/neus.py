"""NeuS: a signed distance and its colour from views with known cameras.

Wang et al. 2021, "NeuS: Learning neural implicit surfaces by volume rendering for multi-view reconstruction", with the losses and
settings that SyncDreamer and ViewFusion reconstruct sampled views with (liuyuan-pal/SyncDreamer `renderer/renderer.py`).

task = NeusTask(views, parameters.neus, parameters.loop, uid, device)
optimise(task, folder, parameters.loop)
mesh = mesh_of(task.field, parameters.mesh)
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from PIL import Image
from torch import Tensor, nn

from blender_render.camera_sets import View
from reconstruction.fields.distance_field import DistanceField
from reconstruction.fields.field import box_about_origin
from reconstruction.marching.distance_sampling import distance_edges
from reconstruction.marching.march import Marched, march_pieces
from reconstruction.marching.occupancy import OccupancyGrid
from reconstruction.marching.picture import FieldPicture, assembled
from reconstruction.marching.rays import Rays, near_far
from reconstruction.optimisation.fingerprint import digest
from reconstruction.optimisation.parameters import LoopParameters, NeusParameters
from reconstruction.posed_views import PosedViews
from stage.seeds import derive_seed
from systems.object_pipeline import Camera

# Of the colour's error, so that it has a derivative at 0.
_SOFTENING = 1e-3
_FIRST_RATE = 0.02
_COVERED = 0.5
_OCCUPANCY_EVERY = 16
# While the surface is soft every cell shows something; until then nothing is left out.
_OCCUPANCY_FROM = 100
_PREVIEW_SIZE = 128


class NeusTask:
    """NeuS of one object; see `reconstruction.optimisation.task.Task`.

    Args:
        views: what the field is fitted to.
        parameters: of the method.
        loop: of the run, whose seed and number of steps count.
        subject: the object's uid.
        device: where it is computed.
    """

    name, scale = "neus", 1.0
    memory_remedy = "lower neus.rays, neus.samples or neus.fine_samples"

    def __init__(
        self, views: PosedViews, parameters: NeusParameters, loop: LoopParameters, subject: str, device: torch.device
    ) -> None:
        self.subject, self.parameters, self.loop = subject, parameters, loop
        self.field = _field(parameters, derive_seed(loop.seed, subject, "field")).to(device)
        self.occupancy = (
            OccupancyGrid(self.field.extent, parameters.occupancy).to(device) if parameters.occupancy else None
        )
        self._cameras, self._rays = views.cameras, views.rays(self.field.deviation)
        self._near_far = near_far(self._rays, self.field.extent)
        self._colours, self._coverage = views.images.reshape(-1, 3).to(device), views.masks.reshape(-1).to(device)
        self._foreground = (self._coverage > _COVERED).nonzero()[:, 0]
        self._optimizer = torch.optim.AdamW(self.field.parameters(), lr=parameters.learning_rate)

    @property
    def fingerprint(self) -> Mapping[str, Any]:
        """Digest of the views, the steps, in which learning rates fall, and the method's parameters."""
        cameras = torch.from_numpy(np.stack([camera.c2w for camera in self._cameras])).float()
        return {
            "views": digest(self._colours, self._coverage, cameras),
            "steps": self.loop.steps,
            "parameters": self.parameters.model_dump(mode="json"),
        }

    def modules(self) -> Mapping[str, nn.Module]:
        """The field, and which cells of it are empty."""
        return {"field": self.field} | ({"occupancy": self.occupancy} if self.occupancy else {})

    def optimizer(self) -> torch.optim.Optimizer:
        """AdamW."""
        return self._optimizer

    def losses(self, step: int, generator: torch.Generator) -> Mapping[str, Tensor]:
        """Colour, coverage and |∇f| = 1, each by its weight."""
        chosen = self.parameters
        self._set(step)
        rows = self._pixels(generator)
        shown = self.march(self._rays[rows], self._near_far[rows], generator)
        difference = (shown.features - self._colours[rows]).square().sum(dim=-1)
        assert shown.gradients is not None  # noqa: S101 - a signed distance has them
        lengths = shown.gradients.norm(dim=-1)
        return {
            "colour": chosen.colour_weight * (difference + _SOFTENING).sqrt().mean(),
            "mask": chosen.mask_weight * (shown.opacity - self._coverage[rows]).square().mean(),
            # Of no piece the mean would be NaN.
            "eikonal": chosen.eikonal_weight * (lengths - 1.0).square().sum() / max(1, len(lengths)),
        }

    def stepped(self, step: int) -> None:
        """Look again which cells are empty, now and then."""
        if self.occupancy and step >= _OCCUPANCY_FROM and step % _OCCUPANCY_EVERY == 0:
            seed = derive_seed(self.loop.seed, f"{self.subject}\0{step}", "occupancy")
            self.occupancy.update(self.field, torch.Generator().manual_seed(seed))

    def march(self, rays: Rays, ends: Float[Tensor, "n 2"], generator: torch.Generator | None = None) -> Marched:
        """What rays show, on white."""
        chosen = self.parameters
        edges = distance_edges(self.field, rays, ends, chosen.samples, chosen.fine_samples, generator)
        white = edges.new_ones(3)
        return march_pieces(
            self.field, rays, edges, background=white, occupancy=self.occupancy, with_normals=generator is None
        )

    def picture(self, camera: Camera) -> FieldPicture:
        """What a camera sees."""
        return assembled(
            camera, self.field.deviation, lambda rays: self.march(rays, near_far(rays, self.field.extent))
        )

    def seen(self, camera: View) -> Float[Tensor, "3 h w"]:
        """The field's picture on white, RGB in [0, 1]."""
        return self.picture(camera).features.permute(2, 0, 1)

    def preview(self, step: int) -> Image.Image:  # noqa: ARG002 - the field is as far as it is
        """Colour and normals as the first view's camera sees them."""
        camera = self._cameras[0]
        lens = camera.intrinsics
        size = min(_PREVIEW_SIZE, lens.width)
        seen = self.picture(View(camera.c2w, lens.resized(size, round(size * lens.height / lens.width))))
        assert seen.normals is not None  # noqa: S101 - asked for
        normals = 0.5 + 0.5 * seen.normals * seen.opacity[..., None]
        both = torch.cat([seen.features, normals], dim=1).clamp(0.0, 1.0)
        return Image.fromarray((both * 255.0).round().to(torch.uint8).cpu().numpy())

    def state_dict(self) -> dict[str, Any]:
        """Nothing: rates and sampling follow from the step."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Nothing to load."""

    def _set(self, step: int) -> None:
        """What depends on the step."""
        chosen = self.parameters
        self.field.annealing = min(1.0, step / chosen.annealing) if chosen.annealing else 1.0
        for group in self._optimizer.param_groups:
            group["lr"] = chosen.learning_rate * rate_at(step, self.loop.steps, chosen)

    def _pixels(self, generator: torch.Generator) -> Int[Tensor, " n"]:
        anywhere = torch.randint(len(self._rays), (self.parameters.rays,), generator=generator)
        count = self.parameters.foreground_rays
        covered = torch.randint(len(self._foreground), (count,), generator=generator)
        device = self._foreground.device
        return torch.cat([anywhere.to(device), self._foreground[covered.to(device)]])


def rate_at(step: int, steps: int, parameters: NeusParameters) -> float:
    """Share of the learning rate at a step: rising from a fiftieth, then falling by equal factors to `final_rate`."""
    if step < parameters.warm_up:
        return _FIRST_RATE + (1.0 - _FIRST_RATE) * step / parameters.warm_up
    falls = max(1, steps // parameters.decay_every)
    return float(np.power(parameters.final_rate, (step // parameters.decay_every) / falls))


def _field(parameters: NeusParameters, seed: int) -> DistanceField:
    """The sphere; its weights follow from the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return DistanceField(
            box_about_origin(),
            parameters.layers,
            parameters.width,
            parameters.frequencies,
            parameters.colour_layers,
            parameters.view_frequencies,
        )
