"""`viewforge demo`: a page on which people try a model."""

import signal
from pathlib import Path
from typing import Annotated

import typer

from cli.options import HERE, WorkspaceOption, opened, without_bars
from stage.errors import InputError

_MIB = 2**20
AUTH = "VIEWFORGE_DEMO_AUTH"


def add_to(app: typer.Typer) -> None:
    """Add the subcommand."""
    app.command(rich_help_panel="Models")(demo)


def demo(
    model: Annotated[
        list[Path] | None,
        typer.Option(help="Pipeline folder to offer, first of all; repeat for several. Else the registry's champion."),
    ] = None,
    host: Annotated[
        str, typer.Option(help=f"Address to listen on; beyond loopback {AUTH}=user:password is needed.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port.")] = 7860,
    max_upload_mib: Annotated[int, typer.Option(min=1, max=256, help="MiB that a picture may have.")] = 16,
    waiting: Annotated[int, typer.Option(min=1, help="Requests that may wait for a device.")] = 8,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds that a request may take.")] = 600.0,
    mesh_steps: Annotated[
        int, typer.Option(min=1, help="Of the optimiser that fits a surface to a turn's views; a GPU can do 2000.")
    ] = 800,
    workspace: WorkspaceOption = HERE,
) -> None:
    """Serve a page on which people try a model: a picture in, an object from other sides out. Ctrl-C ends it."""
    import importlib.util

    if importlib.util.find_spec("gradio") is None:
        raise InputError("gradio is not installed", "pip install 'viewforge[demo]'")
    from services.exposure import is_loopback, refuse_exposed
    from services.ports import check_free

    refuse_exposed("the demo", host, AUTH)
    check_free("the demo", host, port, "--port")
    place = opened(workspace)
    for folder in model or ():
        if not (folder / "model_index.json").is_file():
            raise InputError(f"{folder} holds no pipeline", "name a folder with a model_index.json")
    import uvicorn

    from demo.limits import Limits
    from demo.server import demo_server
    from demo.studio import Studio
    from systems.pictures.opening import PictureLimits

    without_bars()
    # uvicorn raises it again once it has shut down, and files are to be deleted then.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    limits = Limits(PictureLimits(most_bytes=max_upload_mib * _MIB), waiting, timeout, mesh_steps)
    studio = Studio(place, tuple(folder.resolve() for folder in model or ()), limits)
    try:
        offered = studio.catalogue.offered()
        # What is wrong with it is said here, and not to the first visitor.
        studio.catalogue.folder(offered[0].key)
        hosts = ["127.0.0.1", "localhost", "[::1]"] if is_loopback(host) else None
        application = demo_server(studio, _credentials(), hosts)
        print(f"demo: {offered[0].label} on {', '.join(studio.devices)}, at http://{host}:{port}/", flush=True)
        uvicorn.run(application, host=host.strip("[]"), port=port, log_level="warning", timeout_graceful_shutdown=3)
    finally:
        studio.close()


def _credentials() -> tuple[str, str] | None:
    """User and password of the environment; on loopback, too, where they are set."""
    from services.exposure import secret_of

    if (secret := secret_of(AUTH)) is None:
        return None
    user, mark, password = secret.partition(":")
    if not (user and mark and password):
        raise InputError(f"{AUTH} is no user:password", "set it so, as ann:a-long-password")
    return user, password
