"""The served model: Zero-1-to-3 behind MLflow's pyfunc interface. MLflow copies this file into every logged model.

model = mlflow.pyfunc.load_model("models:/viewforge-zero123@champion")
images = model.predict({"image": image, "poses": poses}, params={"seed": 1})

`image` (n, h, w, 3) float32 in [0, 1], on white; `poses` (n, 4) float32, T of each wanted view relative to its image,
radians and scene units. One image serves any number of poses. Images (n, h, w, 3) float32 in [0, 1] come back.
"""

from pathlib import Path
from typing import Any

import mlflow
import numpy as np
from mlflow.pyfunc import PythonModel, PythonModelContext

_MOST_POSES = 256
_MOST_STEPS = 1000


class ServedZero123(PythonModel):
    """Samples views with the pipeline that was logged beside this file."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the pipeline, onto the GPU where there is one."""
        # Imported here: MLflow runs this file when it logs a model, before any weights are wanted.
        import torch

        from systems.cascade_zero123.pipeline import CascadePipeline
        from systems.pipelines import load_pipeline
        from systems.zero123.pipeline import Zero123Pipeline

        pipeline = load_pipeline(Path(context.artifacts["pipeline"]))
        if not isinstance(pipeline, Zero123Pipeline | CascadePipeline):
            raise TypeError(
                f"a {type(pipeline).__name__} takes cameras, and poses are served: load it with load_pipeline instead"
            )
        pipeline.set_progress_bar_config(disable=True)
        self.saved_scheduler = pipeline.scheduler
        self.pipeline = pipeline.to("cuda" if torch.cuda.is_available() else "cpu")

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
            ValueError: when shapes, ranges or parameters do not fit.
        """
        import torch

        image, poses = _checked(model_input, self._multiple())
        options = dict(params or {})
        seed = int(options.pop("seed", 0))
        _check_steps(options.get("num_inference_steps"))
        self.pipeline.scheduler = self._scheduler(options.pop("scheduler", "as_saved"))
        images = torch.from_numpy(image).movedim(-1, 1) * 2 - 1
        generator = torch.Generator().manual_seed(seed)
        sampled = self.pipeline(images, torch.from_numpy(poses), generator=generator, **options).images
        return np.ascontiguousarray(sampled.movedim(1, -1).numpy())

    def _scheduler(self, name: str) -> Any:  # noqa: ANN401 - a scheduler of any class
        from systems.zero123.schedulers import scheduler_named

        return self.saved_scheduler if name == "as_saved" else scheduler_named(name, self.saved_scheduler)

    def _multiple(self) -> int:
        """Image sides must be multiples of a latent pixel's side."""
        config = self.pipeline.vae.config
        return int(config["factor"] if "factor" in config else 2 ** (len(config["block_out_channels"]) - 1))


def _checked(model_input: Any, multiple: int) -> tuple[np.ndarray, np.ndarray]:  # noqa: ANN401 - what a caller sends
    """Images and poses, one image for all poses or one for each."""
    if not isinstance(model_input, dict):
        raise ValueError(f"the input is a {type(model_input).__name__}: give a dict of image and poses")  # noqa: TRY004
    missing = {"image", "poses"} - set(model_input)
    if missing:
        raise ValueError(f"the input lacks {' and '.join(sorted(missing))}: give image (n, h, w, 3) and poses (n, 4)")
    image = np.asarray(model_input["image"], np.float32)
    poses = np.asarray(model_input["poses"], np.float32)
    _check_image(image, multiple)
    if poses.ndim != 2 or poses.shape[1] != 4 or not np.isfinite(poses).all():
        raise ValueError(f"poses of shape {poses.shape} with finite numbers only are wanted as (n, 4)")
    if not 1 <= len(poses) <= _MOST_POSES:
        raise ValueError(f"{len(poses)} poses: give 1 to {_MOST_POSES} in a request")
    if len(image) not in (1, len(poses)):
        raise ValueError(f"{len(image)} images for {len(poses)} poses: give one image, or one for each pose")
    return image, poses


def _check_image(image: np.ndarray, multiple: int) -> None:
    if image.ndim != 4 or image.shape[-1] != 3 or 0 in image.shape:
        raise ValueError(f"image has shape {image.shape}: give (n, height, width, 3)")
    if image.shape[1] % multiple or image.shape[2] % multiple:
        raise ValueError(f"image is {image.shape[2]}×{image.shape[1]}: its sides must be multiples of {multiple}")
    # Written so that NaN fails too.
    if not (image.min() >= 0 and image.max() <= 1):
        raise ValueError(f"image values reach from {image.min()} to {image.max()}: give sRGB in [0, 1]")


def _check_steps(steps: object) -> None:
    if steps is not None and not 1 <= int(str(steps)) <= _MOST_STEPS:
        raise ValueError(f"num_inference_steps = {steps}: give 1 to {_MOST_STEPS}")


mlflow.models.set_model(ServedZero123())
