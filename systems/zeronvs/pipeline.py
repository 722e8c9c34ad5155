"""Sampling with ZeroNVS: one image of a scene, its camera and wanted cameras to the images seen from there.

pipeline = ZeroNvsPipeline.from_pretrained(folder)
there = np.eye(4)
there[:3, 3] = 0.125
views = pipeline(Image.open("room.jpg"), there[None], fov=np.deg2rad(55), scale=0.7, output_type="pil").images

Cameras are 4×4 c2w in OpenGL axes; the image's own is the identity unless it is given, as in the snippet of the author
(kylesargent/ZeroNVS, issue 14). The scale is that of the pipeline's mode, in the units of the cameras. For a photograph nobody
knows it: the smaller it is, the farther the same step leads. The released launch script takes 0.7.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, get_args

import numpy as np
import torch
from diffusers import UNet2DConditionModel
from diffusers.schedulers import KarrasDiffusionSchedulers
from jaxtyping import Float
from PIL import Image
from torch import Tensor
from transformers import CLIPVisionModelWithProjection

from geometry.scene_scales import ScaleName
from stage.errors import InputError
from systems.object_pipeline import Camera, Pictures, SampledViews
from systems.pictures.choices import FramingName
from systems.pictures.framing import centre_square
from systems.zero123.conditioning import CCProjection
from systems.zero123.modules import Autoencoder
from systems.zero123.view_pipeline import ViewPipeline
from systems.zeronvs.conditioning import fov_of, pose_dimensions, pose_vector, scale_of
from systems.zeronvs.modes import RELEASED_MODE, ConditioningMode, known_mode, scale_name

Cameras: TypeAlias = Float[np.ndarray, "*n 4 4"] | Float[Tensor, "*n 4 4"]
Numbers: TypeAlias = float | Sequence[float] | Float[np.ndarray, " n"] | Float[Tensor, " n"]

# How far from orthonormal a rotation may be that went through half precision or a text file.
_ROUNDING = 1e-2


class ZeroNvsPipeline(ViewPipeline):
    """ZeroNVS as a diffusers pipeline; see `ViewPipeline` for its other parts.

    Args:
        unet: the denoiser.
        cc_projection: joins embedding and pose vector.
        image_encoder: CLIP vision encoder with projection.
        vae: images to latents and back.
        scheduler: the noise schedule.
        mode: how cameras are made into a pose vector; saved with the pipeline.

    Raises:
        ParameterError: when there is no such mode.
        InputError: when `cc_projection` takes vectors of another length.
    """

    def __init__(
        self,
        unet: UNet2DConditionModel,
        cc_projection: CCProjection,
        image_encoder: CLIPVisionModelWithProjection,
        vae: Autoencoder,
        scheduler: KarrasDiffusionSchedulers,
        mode: str = RELEASED_MODE,  # diffusers, which looks at annotations when it loads, knows no Literal
    ) -> None:
        super().__init__(unet, cc_projection, image_encoder, vae, scheduler)
        wanted, given = pose_dimensions(known_mode(mode)), cc_projection.config.pose_dim
        if given != wanted:
            raise InputError(
                f"cc_projection takes poses of {given} numbers, and the mode {mode} has {wanted}",
                "name the mode that it was trained with",
            )
        self.register_to_config(mode=mode)

    @property
    def mode(self) -> ConditioningMode:
        """How cameras are made into a pose vector."""
        return known_mode(self.config.mode)

    @property
    def takes_relative_poses(self) -> bool:
        """Whether the mode's vector is Zero-1-to-3's T."""
        return self.mode == "3dof"

    @property
    def needs_fov(self) -> bool:
        """Whether the mode knows of a field of view."""
        return self.mode != "3dof"

    @property
    def needs_scale(self) -> bool:
        """Whether the mode divides translations by a scale."""
        return self.mode not in ("3dof", "7dof_unscaled")

    @property
    def scale_name(self) -> str | None:
        """Which scale of a scene the mode divides by, of those that can be measured."""
        return scale_name(self.mode)

    def scale_from(self, measured: Callable[[str], float]) -> float | None:
        """The scale of the mode; see `ViewPipeline`."""
        if not self.needs_scale:
            return None
        name = self.scale_name
        if name is None:
            raise InputError(
                f"{self.mode} divides by the scene units in a metre, which nobody measures", "give the scale"
            )
        return scale_of(
            self.mode, np.array([measured(each) if each == name else np.nan for each in get_args(ScaleName)])
        )

    def __call__(
        self,
        images: Pictures,
        c2w_targets: Cameras,
        c2w_condition: Cameras | None = None,
        fov: Numbers | None = None,
        scale: Numbers | None = None,
        **options: Any,  # noqa: ANN401 - those of `SamplerOptions`
    ) -> SampledViews:
        """Sample the view from each camera from its input image, or from the one image that is given.

        Args:
            images: input views in [−1, 1], one for all cameras or one for each; or PIL images, of which the square in the middle
                is brought to the training's size.
            c2w_targets: the wanted cameras (n, 4, 4), OpenGL axes.
            c2w_condition: the camera of the input, or of each; the identity when None. `3dof` needs it, in a frame about whose
                origin the cameras turn.
            fov: field of view of the square pictures, radians, one for all or one for each; `3dof` does without.
            scale: what the mode divides translations by, in the cameras' units, one for all or one for each; `3dof` and
                `7dof_unscaled` do without.
            **options: `SamplerOptions`.

        Raises:
            InputError: when shapes, values or options do not fit, or the mode needs something that is not given.
        """
        return self.sample_poses(images, self._poses(c2w_targets, c2w_condition, fov, scale), **options)

    def _poses(
        self, c2w_targets: Cameras, c2w_condition: Cameras | None, fov: Numbers | None, scale: Numbers | None
    ) -> Float[Tensor, "n e"]:
        """The pose vectors of the mode; see `__call__`."""
        targets = _cameras("c2w_targets", c2w_targets)
        if c2w_condition is None and not self.needs_fov:
            raise InputError(
                "the mode 3dof tells positions about the origin, and the input's is not known", "give c2w_condition"
            )
        given = np.eye(4)[None] if c2w_condition is None else _cameras("c2w_condition", c2w_condition)
        conditions = _for_each("c2w_condition", given, len(targets))
        fovs = self._numbers("fov", fov, self.needs_fov, len(targets))
        scales = self._numbers("scale", scale, self.needs_scale, len(targets))
        if self.needs_fov and fovs.max() >= np.pi:
            raise InputError(f"fov is {fovs.max():g}", "give radians, below π")
        rows = zip(targets, conditions, fovs, scales, strict=True)
        poses = np.stack([pose_vector(self.mode, t, c, float(f), float(s)) for t, c, f, s in rows])
        return torch.from_numpy(poses).float()

    def sample_views(
        self,
        images: Pictures,
        condition: Camera,
        targets: Sequence[Camera],
        scale: float | None = None,
        **options: Any,  # noqa: ANN401 - those of `SamplerOptions`
    ) -> SampledViews:
        """Sample a scene from wanted cameras; see `ViewPipeline`."""
        return self.sample_poses(images, self.pose_vectors(condition, targets, scale), **options)

    def pose_vectors(
        self, condition: Camera, targets: Sequence[Camera], scale: float | None = None
    ) -> Float[Tensor, "n e"]:
        """The pose vectors of the mode, of targets relative to the condition."""
        lenses = [target.intrinsics for target in targets]
        fovs = [fov_of(np.array([i.fx, i.fy, i.cx, i.cy]), i.width, i.height) for i in lenses]
        c2w = np.stack([target.c2w for target in targets])
        return self._poses(c2w, condition.c2w, fovs, scale)

    @property
    def framing(self) -> FramingName:
        """The middle square: scenes have no object to frame."""
        return "centre_square"

    def framed(self, picture: Image.Image) -> Image.Image:
        """The square in the middle, as the training's pictures are cut."""
        return centre_square(picture)

    def _numbers(self, name: str, given: Numbers | None, needed: bool, count: int) -> Float[np.ndarray, " n"]:
        """Positive numbers, one for each view; ones where the mode does without."""
        if not needed:
            return np.ones(count)
        if given is None:
            raise InputError(f"the mode {self.mode} needs a {name}", f"give {name}")
        values = np.atleast_1d(_array(given))
        if values.ndim != 1 or not (np.isfinite(values) & (values > 0)).all():
            raise InputError(f"{name} is {given}", "give positive numbers, one for all views or one for each")
        return _for_each(name, values, count)


def _array(given: object) -> np.ndarray:
    return np.asarray(given.detach().cpu() if isinstance(given, Tensor) else given, dtype=np.float64)


def _for_each(name: str, given: np.ndarray, count: int) -> np.ndarray:
    if len(given) not in (1, count):
        raise InputError(f"{len(given)} of {name} for {count} views", "give one for all views, or one for each")
    return np.broadcast_to(given, (count, *given.shape[1:]))


def _cameras(name: str, given: Cameras) -> Float[np.ndarray, "n 4 4"]:
    """Rigid transforms (n, 4, 4); a single one has n = 1."""
    cameras = _array(given)
    if cameras.ndim not in (2, 3) or cameras.shape[-2:] != (4, 4) or 0 in cameras.shape:
        raise InputError(f"{name} have shape {cameras.shape}", "give (n, 4, 4)")
    cameras = cameras.reshape(-1, 4, 4)
    rotations = cameras[:, :3, :3]
    squared = rotations @ rotations.transpose(0, 2, 1)
    if not (
        np.allclose(cameras[:, 3], [0, 0, 0, 1])
        and np.allclose(squared, np.eye(3), atol=_ROUNDING)
        and (np.linalg.det(rotations) > 0).all()
        and np.isfinite(cameras).all()
    ):
        raise InputError(
            f"{name} are no rigid transforms", "give camera-to-world matrices in OpenGL axes, without scale"
        )
    return cameras
