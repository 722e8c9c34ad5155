"""What `viewforge sample` does with the picture that it is given, before any model samples it.

Imported when the command is called: it needs the systems.
"""

import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stage.errors import InputError
from stage.seeds import derive_seed
from systems.gaussian_pipeline import GaussianPipeline
from systems.object_pipeline import ObjectPipeline
from systems.pictures.choices import FramingName
from systems.pictures.elevation import ElevationEstimate, asking, estimate_elevation
from systems.pictures.opening import open_picture
from systems.pictures.preparation import Prepared, prepare
from systems.pipelines import load_pipeline
from systems.zero123.compositing import picture_tensor
from systems.zero123.parameters import Background
from systems.zeronvs.pipeline import ZeroNvsPipeline

ESTIMATE = "estimate"


def degrees_or_estimate(text: str | None) -> float | str | None:
    """What --elevation-deg says: degrees, `ESTIMATE`, or None where it is not given.

    Raises:
        InputError: when it is something else.
    """
    if text is None or text == ESTIMATE:
        return text
    try:
        degrees = float(text)
    except ValueError:
        degrees = math.nan
    if not -90.0 <= degrees <= 90.0:
        raise InputError(f"--elevation-deg {text} is no elevation", f"give degrees, -90 to 90, or {ESTIMATE}")
    return degrees


@dataclass(frozen=True)
class PictureOptions:
    """The command's options about its picture."""

    path: Path
    foreground: str = "auto"
    framing: FramingName | None = None
    background: Background = "alpha"


def spare_given(options: PictureOptions, output: Path) -> None:
    """Refuse to write the views over the picture or its mask.

    Raises:
        InputError: when they would be.
    """
    if output.resolve() in (options.path.resolve(), Path(options.foreground).resolve()):
        raise InputError(f"{output} is given, and the views would be written over it", "name another file by --output")


def prepared_for(pipeline: ObjectPipeline, options: PictureOptions) -> tuple[Tensor, str]:
    """The picture (1, 3, h, w) in [−1, 1] that a pipeline is shown, and what was done to it in words.

    Raises:
        InputError: when it cannot be opened, cut out or framed.
    """
    made = _prepared(pipeline, options)
    return _tensor(made, pipeline, options), made.line


@dataclass(frozen=True)
class AskedElevation:
    """What --elevation-deg comes to."""

    degrees: float | None
    """What a pipeline is told; None where nothing is given, or an estimate is of no use to it: views turned from the input need
    none."""
    estimate: str = ""
    """An estimate in words, with what speaks against it; empty where none was made."""


def asked_elevation(
    pipeline: ObjectPipeline,
    options: PictureOptions,
    asked: str | None,
    prior_folder: Path | None,
    seed: int,
    around: bool = False,
    **sampling: Any,  # noqa: ANN401 - `SamplerOptions`
) -> AskedElevation:
    """The elevation of the picture's camera, given or estimated.

    Args:
        pipeline: that will sample the picture; it is asked itself where it is of Zero-1-to-3's kind.
        options: of the picture, which is framed anew for a model of its own.
        asked: what --elevation-deg says.
        prior_folder: of another model to ask.
        seed: of the estimate's noise and bootstrap.
        around: whether it is for an orbit of fused views, or a field, whose cameras stand at it.
        **sampling: `SamplerOptions` but the generator.

    Raises:
        InputError: when the option is neither, no model can be asked, or nothing matches among its views.
    """
    given = degrees_or_estimate(asked)
    if prior_folder and given != ESTIMATE:
        raise InputError("--elevation-model is asked for an elevation", f"give --elevation-deg {ESTIMATE} with it")
    if not isinstance(given, str):
        return AskedElevation(given)
    estimate = _estimated(pipeline, options, prior_folder, seed, sampling)
    told = around or isinstance(pipeline, ZeroNvsPipeline | GaussianPipeline)
    return AskedElevation(estimate.elevation_deg if told else None, estimate.line())


def elevation_for(
    pipeline: ObjectPipeline,
    options: PictureOptions,
    asked: str | None,
    prior_folder: Path | None,
    seed: int,
    around: bool = False,
    **sampling: Any,  # noqa: ANN401 - `SamplerOptions`
) -> float | None:
    """The degrees of `asked_elevation`; an estimate is printed."""
    found = asked_elevation(pipeline, options, asked, prior_folder, seed, around, **sampling)
    if found.estimate:
        print(f"sample: {found.estimate}", flush=True)
    return found.degrees


def _estimated(
    pipeline: ObjectPipeline, options: PictureOptions, folder: Path | None, seed: int, sampling: dict[str, Any]
) -> ElevationEstimate:
    prior = load_pipeline(folder) if folder else pipeline
    prior.set_progress_bar_config(disable=not sys.stderr.isatty())
    noise = torch.Generator().manual_seed(derive_seed(seed, "picture", "elevation noise"))
    asked = asking(prior, **sampling, generator=noise)
    (picture,) = _tensor(_prepared(prior, options), prior, options)
    return estimate_elevation(picture, asked, seed)


def _prepared(pipeline: ObjectPipeline, options: PictureOptions) -> Prepared:
    picture = open_picture(options.path)
    return prepare(picture, pipeline.framing, options.foreground, options.framing)


def _tensor(made: Prepared, pipeline: ObjectPipeline, options: PictureOptions) -> Tensor:
    return picture_tensor(made.picture, (pipeline.image_size,) * 2, options.background)[None]
