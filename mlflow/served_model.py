"""The served model: views of an object behind MLflow's pyfunc interface. MLflow copies this file into every logged model.

model = mlflow.pyfunc.load_model("models:/viewforge-zero123@champion")
images = model.predict({"image": image, "poses": poses}, params={"seed": 1})

mlflow models serve --model-uri models:/viewforge-zero123@champion --env-manager local --port 5001

`image` (n, h, w, 3) float32 in [0, 1], on white; `poses` (n, 4) float32, T of each wanted view relative to its image,
radians and scene units. One image serves any number of poses. Images (n, h, w, 3) float32 in [0, 1] come back.
docs/serving.md has the HTTP interface, its answers and its limits.
"""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import (
    DEADLINE_EXCEEDED,
    INTERNAL_ERROR,
    INVALID_PARAMETER_VALUE,
    RESOURCE_EXHAUSTED,
)
from mlflow.pyfunc import PythonModel, PythonModelContext

# What MLflow's server is told: it answers 504 after so many seconds, and does not end what it no longer waits for.
_TIMEOUT = "MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT"
_ROUNDING = 1e-3


class RequestError(MlflowException):
    """What is answered in place of pictures: one line, under the HTTP status of its code.

    Args:
        message: what is wrong with which part of the request, and what to send.
        code: MLflow's; 400 unless it is given.
    """

    def __init__(self, message: str, code: int = INVALID_PARAMETER_VALUE) -> None:
        super().__init__(message, error_code=code)

    def serialize_as_json(self) -> str:
        """The answer's body. MLflow's server has put the request's numbers before the message by now; they are left out."""
        self.message = str(self)
        return str(super().serialize_as_json())


@dataclass(frozen=True)
class Limits:
    """What one request may cost: the values that were logged with the model, over them the variable SERVING_MODEL_CONFIG."""

    most_poses: int
    """Poses of a request."""
    most_denoisings: int
    """Poses × steps of a request."""
    most_pixels: int
    """Pixels of all the pictures that a request asks for. A pixel is about 60 bytes of a JSON answer."""
    batch_size: int
    """Pictures that the networks see at once, which bounds memory."""


@dataclass(frozen=True)
class _Request:
    """A request that has been looked through."""

    image: np.ndarray
    poses: np.ndarray
    params: dict[str, Any]
    arrived: float = field(default_factory=time.monotonic)


class ServedViews(PythonModel):
    """Samples views with the pipeline that was logged beside this file, one request at a time."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the pipeline, onto the GPU where there is one."""
        # Imported here: MLflow runs this file when it logs a model, before any weights are wanted.
        import torch

        from systems.pipelines import load_pipeline
        from systems.zero123.view_pipeline import ViewPipeline

        pipeline = load_pipeline(Path(context.artifacts["pipeline"]))
        if not isinstance(pipeline, ViewPipeline) or not pipeline.takes_relative_poses:
            raise TypeError(
                f"a {type(pipeline).__name__} takes cameras, and poses are served: load it with load_pipeline instead"
            )
        pipeline.set_progress_bar_config(disable=True)
        self.saved_scheduler = pipeline.scheduler
        self.pipeline = pipeline.to("cuda" if torch.cuda.is_available() else "cpu")
        self.limits = Limits(**context.model_config)
        self.seconds = float(os.environ.get(_TIMEOUT, "inf"))
        self._turn = threading.Lock()

    # The input is a dict of arrays. MLflow warns at every load about that hint, and about none; this one it lets pass.
    def predict(
        self,
        context: PythonModelContext,  # noqa: ARG002 - MLflow's interface
        model_input: np.ndarray,
        params: dict[str, Any] | None = None,
    ) -> np.ndarray:
        """The view at each pose.

        Args:
            context: MLflow's; not needed here.
            model_input: `image` and `poses`.
            params: `num_inference_steps`, `guidance_scale`, `eta`, `seed`; `scheduler`, a name of `systems.zero123.schedulers`
                or as_saved; `drop_first_step`, `null_condition`.

        Raises:
            RequestError: when shapes, ranges or parameters do not fit, or time runs out.
        """
        request = self._checked(model_input, dict(params or {}))
        from stage.errors import ViewforgeError

        try:
            with self._alone(request):
                return _finite(self._sampled(request))
        except ViewforgeError as error:
            raise RequestError(str(error)) from None
        except MlflowException:
            raise
        except Exception as error:
            # MLflow would answer 400, as if the request were at fault.
            reason = (str(error).splitlines() or [""])[0]
            raise RequestError(
                f"the model failed ({type(error).__name__}: {reason}): send fewer poses, or look at the server's log",
                INTERNAL_ERROR,
            ) from error

    def _sampled(self, request: _Request) -> np.ndarray:
        import torch

        options = dict(request.params)
        generator = torch.Generator().manual_seed(int(options.pop("seed", 0)))
        self.pipeline.scheduler = self._scheduler(options.pop("scheduler", "as_saved"))
        images = torch.from_numpy(request.image).movedim(-1, 1) * 2 - 1
        sampled = self.pipeline.sample_poses(
            images,
            torch.from_numpy(request.poses),
            generator=generator,
            batch_size=self.limits.batch_size,
            callback_on_step_end=lambda *_: self._check_time(request),
            **options,
        ).images
        return np.ascontiguousarray(sampled.movedim(1, -1).numpy())

    def _scheduler(self, name: str) -> Any:  # noqa: ANN401 - a scheduler of any class
        from systems.zero123.schedulers import scheduler_named

        return self.saved_scheduler if name == "as_saved" else scheduler_named(name, self.saved_scheduler)

    @contextmanager
    def _alone(self, request: _Request) -> Iterator[None]:
        """While no other thread samples: MLflow's server has a thread a request, and a scheduler has the state of one."""
        left = request.arrived + self.seconds - time.monotonic()
        if not self._turn.acquire(timeout=min(max(left, 0.0), threading.TIMEOUT_MAX)):
            raise RequestError(
                f"other requests took all of {self.seconds:g} s: send it again later", RESOURCE_EXHAUSTED
            )
        try:
            yield
        finally:
            self._turn.release()

    def _check_time(self, request: _Request) -> None:
        """End what nobody waits for any longer; called after every step."""
        if time.monotonic() - request.arrived > self.seconds:
            raise RequestError(
                f"sampling {len(request.poses)} poses took more than {self.seconds:g} s: send fewer poses or steps",
                DEADLINE_EXCEEDED,
            )

    def _checked(self, model_input: Any, params: dict[str, Any]) -> _Request:  # noqa: ANN401 - what a caller sends
        """Images and poses, one image for all poses or one for each."""
        if not isinstance(model_input, dict):
            raise RequestError(f"the input is a {type(model_input).__name__}: give a dict of image and poses")
        if missing := {"image", "poses"} - set(model_input):
            raise RequestError(
                f"the input lacks {' and '.join(sorted(missing))}: give image (n, h, w, 3) and poses (n, 4)"
            )
        image, poses = (np.asarray(model_input[name], np.float32) for name in ("image", "poses"))
        self._check_image(image)
        _check_poses(poses, self.limits.most_poses)
        if len(image) not in (1, len(poses)):
            raise RequestError(f"{len(image)} images for {len(poses)} poses: give one image, or one for each pose")
        _check_params(params)
        self._check_cost(image, len(poses), int(params.get("num_inference_steps", 1)))
        return _Request(image, poses, params)

    def _check_image(self, image: np.ndarray) -> None:
        if image.ndim != 4 or image.shape[-1] != 3 or 0 in image.shape:
            raise RequestError(f"image has shape {image.shape}: give (n, height, width, 3), pictures without alpha")
        self._check_size(*image.shape[1:3])
        # Written so that NaN fails too.
        if not (image.min() >= 0 and image.max() <= 1):
            raise RequestError(f"image values reach from {image.min()} to {image.max()}: give sRGB in [0, 1]")

    def _check_size(self, height: int, width: int) -> None:
        if self.pipeline.unet.config.sample_size:
            side = self.pipeline.image_size
            if (height, width) != (side, side):
                raise RequestError(
                    f"image is {width}×{height} pixels: give {side}×{side}, as the model was trained on"
                )
            return
        multiple = self._multiple()
        if height % multiple or width % multiple:
            raise RequestError(f"image is {width}×{height} pixels: its sides must be multiples of {multiple}")

    def _check_cost(self, image: np.ndarray, poses: int, steps: int) -> None:
        height, width = image.shape[1:3]
        if poses * height * width > self.limits.most_pixels:
            most = self.limits.most_pixels // (height * width)
            raise RequestError(f"{poses} poses of {width}×{height} pixels: give at most {most} in a request")
        if poses * steps > self.limits.most_denoisings:
            raise RequestError(
                f"{poses} poses × {steps} steps are {poses * steps} denoisings: give at most {self.limits.most_denoisings} "
                "in a request"
            )

    def _multiple(self) -> int:
        """Image sides must be multiples of a latent pixel's side."""
        config = self.pipeline.vae.config
        return int(config["factor"] if "factor" in config else 2 ** (len(config["block_out_channels"]) - 1))


def _check_poses(poses: np.ndarray, most: int) -> None:
    if poses.ndim != 2 or poses.shape[1] != 4:
        raise RequestError(f"poses have shape {poses.shape}: give (n, 4)")
    if not np.isfinite(poses).all():
        raise RequestError("poses hold NaN or infinity: give finite numbers only")
    if not 1 <= len(poses) <= most:
        raise RequestError(f"{len(poses)} poses: give 1 to {most} in a request, and send several")
    wrong = np.abs(poses[:, :3]).max(axis=0) > np.array([np.pi, 1.0, 1.0]) + _ROUNDING
    if wrong.any():
        names = ["Δpolar", "sin Δazimuth", "cos Δazimuth"]
        named = ", ".join(name for name, far in zip(names, wrong, strict=True) if far)
        raise RequestError(
            f"poses hold {named} out of range: give [Δpolar, sin Δazimuth, cos Δazimuth, Δradius], radians"
        )


def _check_params(params: dict[str, Any]) -> None:
    if absent := sorted(name for name, value in params.items() if value is None):
        raise RequestError(f"{' and '.join(absent)} is null: leave it out for the model's own value")
    for name, highest in (("guidance_scale", 100.0), ("eta", 1.0)):
        value = float(params.get(name, 0.0))
        if not 0 <= value <= highest:
            raise RequestError(f"{name} is {value}: give 0 to {highest:g}")
    seed = int(params.get("seed", 0))
    if not 0 <= seed < 2**63:
        raise RequestError(f"seed is {seed}: give 0 to 2^63 − 1")


def _finite(images: np.ndarray) -> np.ndarray:
    if not np.isfinite(images).all():
        raise RequestError("the model made pictures that are not finite: report it with the request", INTERNAL_ERROR)
    return images


mlflow.models.set_model(ServedViews())
