"""`viewforge sample`: see an object from another side, given one picture of it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.options import HERE, WorkspaceOption, opened
from stage.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor


def add_to(app: typer.Typer) -> None:
    """Add the subcommand."""
    app.command(rich_help_panel="Models")(sample)


def sample(
    image: Annotated[Path, typer.Argument(help="A picture of an object; transparent parts become white.")],
    azimuth_deg: Annotated[list[float], typer.Option(help="Turn around the object; repeat for several views.")],
    polar_deg: Annotated[
        float, typer.Option(help="Change of the angle from the top; negative looks from higher.")
    ] = 0.0,
    radius: Annotated[float, typer.Option(help="Change of the distance, in object sizes.")] = 0.0,
    output: Annotated[Path, typer.Option("--output", "-o", help="PNG: the input, then the views.")] = Path(
        "views.png"
    ),
    model: Annotated[Path | None, typer.Option(help="Pipeline folder; the workspace's own by default.")] = None,
    steps: Annotated[int, typer.Option(min=1, help="Sampling steps.")] = 20,
    guidance: Annotated[float, typer.Option(min=0, help="Classifier-free guidance; 1 does without.")] = 1.0,
    seed: Annotated[int, typer.Option(help="Seed of the noise.")] = 0,
    workspace: WorkspaceOption = HERE,
) -> None:
    """Show an object from other sides, given one picture of it."""
    import math
    import sys

    import torch

    from systems.zero123.conditioning import pose_between
    from systems.zero123.pipeline import load_pipeline

    pipeline = load_pipeline(model or opened(workspace).model)
    pipeline.set_progress_bar_config(disable=not sys.stderr.isatty())
    picture = _read(image, pipeline.image_size)
    origin = (0.0, 0.0, 0.0)
    poses = [pose_between((math.radians(polar_deg), math.radians(a), radius), origin) for a in azimuth_deg]
    views = pipeline(
        picture.expand(len(poses), -1, -1, -1),
        torch.tensor(poses, dtype=torch.float32),
        guidance_scale=guidance,
        num_inference_steps=steps,
        eta=0.0,
        generator=torch.Generator().manual_seed(seed),
    ).images
    _write(output, torch.cat([picture / 2 + 0.5, views]))
    print(f"sample: {len(poses)} views in {output}")


def _read(path: Path, size: int) -> "Tensor":
    """The picture (1, 3, size, size) in [−1, 1], on white."""
    import numpy as np
    import torch
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            rgba = image.convert("RGBA").resize((size, size), Image.Resampling.BICUBIC)
    except FileNotFoundError:
        raise InputError(f"no picture {path}", "give the path of a PNG, JPEG or WebP file") from None
    except (UnidentifiedImageError, OSError) as error:
        raise InputError(f"{path} is no readable picture ({error})", "give a PNG, JPEG or WebP file") from None
    white = Image.new("RGBA", rgba.size, "white")
    values = np.asarray(Image.alpha_composite(white, rgba).convert("RGB"), dtype=np.float32)
    return torch.from_numpy(values.transpose(2, 0, 1)[None] / 127.5 - 1.0)


def _write(path: Path, images: "Tensor") -> None:
    """Images (n, 3, h, w) in [0, 1] side by side as a PNG."""
    from PIL import Image

    from stage.files import replacing

    row = (images.permute(2, 0, 3, 1).flatten(1, 2).clamp(0, 1) * 255).round().byte().numpy()
    with replacing(path) as temporary:
        Image.fromarray(row).save(temporary, format="PNG")
