"""`viewforge sample`: an object from another side or as Gaussians, or a scene from another place, given one picture of it."""

from pathlib import Path
from typing import Annotated, Any

import typer

from cli.options import HERE, WorkspaceOption, opened, without_bars
from stage.errors import InputError
from systems.pictures.choices import FramingName
from systems.zero123.parameters import Background, SchedulerName


def add_to(app: typer.Typer) -> None:
    """Add the subcommand."""
    app.command(rich_help_panel="Models")(sample)


def sample(
    image: Annotated[Path, typer.Argument(help="A PNG, JPEG or WebP; transparent parts become white.")],
    azimuth_deg: Annotated[
        list[float] | None, typer.Option(help="Turn around the object or the centre; repeat for several views.")
    ] = None,
    polar_deg: Annotated[
        float, typer.Option(help="Change of the angle from the top; negative looks from higher.")
    ] = 0.0,
    radius: Annotated[float, typer.Option(help="Change of the distance, in object sizes or scene units.")] = 0.0,
    distance: Annotated[
        float | None, typer.Option(help="ZeroNVS: how far before the camera the centre is, scene units.")
    ] = None,
    elevation_deg: Annotated[
        str | None,
        typer.Option(
            metavar="DEGREES|estimate",
            help="How high above the centre's horizon the picture's camera is. ZeroNVS and Zero-1-to-G are told, 0 by default.",
        ),
    ] = None,
    elevation_model: Annotated[
        Path | None,
        typer.Option(help="Zero-1-to-3 or Cascade-Zero123 to ask for an estimate; the model itself by default."),
    ] = None,
    foreground: Annotated[
        str,
        typer.Option(
            metavar="auto|alpha|segment|none|MASK",
            help="What of the picture is the object: its alpha, a segmentation network's opinion, all, or a mask's file.",
        ),
    ] = "auto",
    frame: Annotated[
        FramingName | None, typer.Option(help="How the object is put into the square; as the system's by default.")
    ] = None,
    cameras: Annotated[
        Path | None, typer.Option(help="ZeroNVS: wanted cameras, a JSON list of 4×4 c2w or a transforms.json.")
    ] = None,
    input_frame: Annotated[
        int | None, typer.Option(help="ZeroNVS: which of them is the input's, from 0; the identity by default.")
    ] = None,
    fov_deg: Annotated[
        float | None,
        typer.Option(help="ZeroNVS: field of view of the picture's middle square; the file's by default."),
    ] = None,
    scale: Annotated[
        float | None, typer.Option(help="ZeroNVS: scale of the scene as its mode has it, scene units.")
    ] = None,
    orbit: Annotated[
        int | None,
        typer.Option(
            min=2, help="All around the object: so many views, the picture among them; an .mp4 beside the PNG."
        ),
    ] = None,
    view_fusion: Annotated[
        bool, typer.Option("--view-fusion", help="Make views one after another, each from all before it.")
    ] = False,
    output: Annotated[Path, typer.Option("--output", "-o", help="PNG: the input, then the views.")] = Path(
        "views.png"
    ),
    mesh: Annotated[Path | None, typer.Option(help="Zero-1-to-G: also write a textured mesh, a .glb file.")] = None,
    model: Annotated[Path | None, typer.Option(help="Pipeline folder; the workspace's own by default.")] = None,
    steps: Annotated[int, typer.Option(min=1, help="Sampling steps.")] = 20,
    guidance: Annotated[float, typer.Option(min=0, help="Classifier-free guidance; 1 does without.")] = 1.0,
    scheduler: Annotated[
        SchedulerName | None, typer.Option(help="How to step; as the model was saved by default.")
    ] = None,
    eta: Annotated[float, typer.Option(min=0, max=1, help="DDIM's share of fresh noise; published: 1.")] = 0.0,
    drop_first_step: Annotated[
        bool, typer.Option("--drop-first-step", help="DDIM without its noisiest timestep, as published.")
    ] = False,
    background: Annotated[
        Background,
        typer.Option(help="White by alpha, or only where alpha is 0 as in the published training data."),
    ] = "alpha",
    batch_size: Annotated[int | None, typer.Option(min=1, help="Most views at once; all by default.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the noise.")] = 0,
    workspace: WorkspaceOption = HERE,
) -> None:
    """Show an object from other sides, or a scene from other places, given one picture of it.

    A model that makes Gaussians writes them to a folder named like the output: gaussians.ply, orbit.mp4, sheet.png.
    """
    import sys

    import torch

    from cli.sampling_cameras import Asked, sample_asked
    from cli.sampling_pictures import PictureOptions, elevation_for, prepared_for, spare_given
    from systems.gaussian_pipeline import GaussianPipeline
    from systems.pipelines import load_pipeline
    from systems.zero123.schedulers import scheduler_named
    from viewing.row import write_row

    without_bars()
    pipeline = load_pipeline(model or opened(workspace).model)
    pipeline.set_progress_bar_config(disable=not sys.stderr.isatty())
    if scheduler:
        pipeline.scheduler = scheduler_named(scheduler, pipeline.scheduler)
    pipeline = pipeline.to("cuda" if torch.cuda.is_available() else "cpu")
    if mesh and not isinstance(pipeline, GaussianPipeline):
        raise InputError(f"--mesh is of Gaussians, and the model is a {type(pipeline).__name__}", "leave it out")
    shown = PictureOptions(image, foreground, frame, background)
    if azimuth_deg or not isinstance(pipeline, GaussianPipeline):
        spare_given(shown, output)
    picture, done = prepared_for(pipeline, shown)
    print(f"sample: {done}", flush=True)
    options: dict[str, Any] = {
        "guidance_scale": guidance,
        "num_inference_steps": steps,
        "eta": eta,
        "drop_first_step": drop_first_step,
        "batch_size": batch_size,
    }
    around = bool(orbit and view_fusion)
    elevation = elevation_for(pipeline, shown, elevation_deg, elevation_model, seed, around, **options)
    options["generator"] = torch.Generator().manual_seed(seed)
    asked = Asked(
        tuple(azimuth_deg or ()), polar_deg, radius, distance, elevation, cameras, input_frame, fov_deg, scale
    )
    if view_fusion:
        from systems.viewfusion.pipeline import ViewFusionPipeline

        pipeline = ViewFusionPipeline(pipeline)
    if orbit:
        from cli.sampling_orbits import sample_orbit

        print(f"sample: {sample_orbit(pipeline, picture, orbit, asked, output, **options)}")
        return
    if isinstance(pipeline, GaussianPipeline):
        from cli.sampling_gaussians import sample_gaussians

        print(f"sample: {sample_gaussians(pipeline, picture, asked, output, mesh, **options)}")
        return
    views = sample_asked(pipeline, picture, asked, **options)
    write_row(output, torch.cat([picture / 2 + 0.5, views]))
    print(f"sample: {len(views)} views in {output}")
