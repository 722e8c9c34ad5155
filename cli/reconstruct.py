"""`viewforge reconstruct`: an object in 3D, from one picture and a model, or from views with their cameras."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from cli.options import HERE, WorkspaceOption, opened, without_bars
from systems.pictures.choices import FramingName

Method = Literal["sjc", "sds", "anchored-sds", "neus"]


def add_to(app: typer.Typer) -> None:
    """Add the subcommand."""
    app.command(rich_help_panel="Models")(reconstruct)


def reconstruct(
    source: Annotated[
        str,
        typer.Argument(
            metavar="IMAGE|UID|FOLDER",
            help="A PNG, JPEG or WebP; or an object that the workspace rendered; or a folder of views with a transforms.json.",
        ),
    ],
    method: Annotated[
        Method | None,
        typer.Option(
            help="sjc, sds and anchored-sds ask a model about one picture; neus takes views all around, and is the default."
        ),
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="A .glb file; a .ply, a turntable .mp4 and a sheet .png lie beside it.")
    ] = Path("model.glb"),
    model: Annotated[Path | None, typer.Option(help="Pipeline folder; the workspace's own by default.")] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Of the optimiser; by default those that the method is published with.")
    ] = None,
    small: Annotated[
        bool | None,
        typer.Option(
            "--small/--published", help="Smaller networks, pictures and meshes for a CPU; as published by default."
        ),
    ] = None,
    elevation_deg: Annotated[
        str | None,
        typer.Option(
            metavar="DEGREES|estimate", help="How high the picture's camera is above the horizon; 0 by default."
        ),
    ] = None,
    distance: Annotated[
        float,
        typer.Option(
            min=0.1, help="How far the picture's camera stands from the object, in longest sides of the object."
        ),
    ] = 1.5,
    elevation_model: Annotated[
        Path | None, typer.Option(help="Zero-1-to-3 or Cascade-Zero123 to ask for an estimate; the model by default.")
    ] = None,
    foreground: Annotated[
        str,
        typer.Option(metavar="auto|alpha|segment|none|MASK", help="What of the picture is the object."),
    ] = "auto",
    frame: Annotated[
        FramingName | None, typer.Option(help="How the object is put into the square; as the system's by default.")
    ] = None,
    scale: Annotated[
        float | None, typer.Option(help="ZeroNVS: scale of the scene as its mode has it, scene units.")
    ] = None,
    view: Annotated[int, typer.Option(min=0, help="Which view of a UID or folder a model is shown.")] = 0,
    views: Annotated[int, typer.Option(min=4, help="neus: views that are sampled around a picture.")] = 36,
    sampling_steps: Annotated[int, typer.Option(min=1, help="neus: of each of them.")] = 75,
    sampling_guidance: Annotated[float, typer.Option(min=0, help="neus: guidance of each of them.")] = 3.0,
    frames: Annotated[int, typer.Option(min=2, help="Of the turntable.")] = 48,
    size: Annotated[
        int | None, typer.Option(min=16, help="Width of the turntable, pixels, even; 256, or 64 on a CPU.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Every draw derives from it; that of params.yaml by default.")
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="One parameter, as neus.rays=1024 or mesh.resolution=256.")
    ] = None,
    workspace: WorkspaceOption = HERE,
) -> None:
    """Make a textured mesh of the object in a picture, or of one that was rendered.

    What is not given is as the section reconstruct of params.yaml says, where there is one. It goes on where a killed run was:
    checkpoints and previews lie in scratch/reconstruct of the workspace.
    """
    from cli.reconstruction_run import Wanted, run
    from cli.reconstruction_sources import SourceOptions

    without_bars()
    given = SourceOptions(
        source=source,
        model=model,
        foreground=foreground,
        framing=frame,
        elevation=elevation_deg,
        elevation_model=elevation_model,
        scale=scale,
        view=view,
        views=views,
        sampling_steps=sampling_steps,
        sampling_guidance=sampling_guidance,
        seed=seed or 0,
        distance=distance,
    )
    wanted = Wanted(method, out, steps, small, frames, size, seed, tuple(set_ or ()))
    print(f"reconstruct: {run(opened(workspace), given, wanted)}")
