"""`viewforge status`: where a workspace stands, in a few seconds: stages, runs, quarantine, models, services, disk."""

import atexit
import gc
import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from typing import Annotated, Any

import typer

from cli.options import HERE, WorkspaceOption, opened
from stage.errors import InputError
from stage.workspace import Workspace

_RUNS = 5
_UNKNOWN = "not known"


def add_to(app: typer.Typer) -> None:
    """Add the subcommand."""
    app.command(rich_help_panel="Pipeline")(status)


def status(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")] = False,
    workspace: WorkspaceOption = HERE,
) -> None:
    """Show which stages are stale and why, the last runs, lost objects, the champion and its challenger, services and disk.

    Servers that are away are given two seconds.
    """
    place = opened(workspace)
    if not place.parameters.is_file():
        raise InputError(
            f"{place.root.resolve()} is no DVC workspace: it has no params.yaml",
            "viewforge run makes one; --workspace names one",
        )
    with _nothing_collected():
        from cli.status_page import page

        found = _gathered(Workspace(place.root.resolve()))
        print(json.dumps(found, indent=2) if as_json else page(found), end="\n" if as_json else "")


@contextmanager
def _nothing_collected() -> Iterator[None]:
    """Look for no garbage: what MLflow and DVC import is none, and looking through it took half of the command's time.

    Nor at the end of the process, which gives all of its memory back.
    """
    atexit.register(gc.freeze)
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _gathered(place: Workspace) -> dict[str, Any]:
    """All sections by name. What cannot be told says why, and costs the others nothing."""
    apart: dict[str, Callable[[Workspace], Any]] = {
        "services": _services,
        "runs": _runs,
        "models": _models,
        "quarantine": _quarantine,
        "evaluation": _evaluation,
        "disk": _disk,
    }
    with ThreadPoolExecutor(len(apart)) as pool:
        asked = {name: pool.submit(_told, look, place) for name, look in apart.items()}
        # DVC changes the current folder, which is the whole process's: the others have absolute paths.
        stages = _told(_stages, place)
        return {
            "workspace": str(place.root),
            "stages": stages,
            **{name: each.result() for name, each in asked.items()},
        }


def _told(look: Callable[[Workspace], Any], place: Workspace) -> Any:  # noqa: ANN401 - JSON
    try:
        return look(place)
    except Exception as error:  # noqa: BLE001 - whatever a library raises: the other sections are wanted most then
        return {_UNKNOWN: next(iter(str(error).splitlines()), "") or type(error).__name__}


def _stages(place: Workspace) -> dict[str, Any]:
    """Each stage with the reasons why it would run; none where it is fresh."""
    from flows.drift import explain
    from flows.graph import stage_order

    stale = {drift.stage: [str(reason) for reason in drift.reasons] for drift in explain(place.root)}
    return {stage: stale.get(stage, []) for stage in stage_order(place.root)}


def _services(place: Workspace) -> list[dict[str, Any]]:
    from services.installation import overview

    return [asdict(service) for service in overview(place)]


def _runs(place: Workspace) -> dict[str, Any]:
    from flows.recent_runs import local_runs, server_runs
    from upkeep.databases import prefect_database

    api = os.environ.get("PREFECT_API_URL") or _prefect_api(place)
    return asdict(server_runs(api, _RUNS) if api else local_runs(prefect_database(place), _RUNS))


def _prefect_api(place: Workspace) -> str | None:
    """Of the server that `viewforge up` started for this workspace, if it runs."""
    from services.installation import overview

    up = [service for service in overview(place) if service.name == "prefect" and service.healthy and service.address]
    return f"{up[0].address}/api" if up else None


def _models(place: Workspace) -> list[dict[str, Any]]:
    from registry.parameters import RegisterParameters
    from stage.parameters import load_section
    from upkeep.standing import standings

    parameters = load_section(place.parameters, "register", RegisterParameters)
    return [asdict(standing) for standing in standings(place, parameters.model_name)]


def _quarantine(place: Workspace) -> dict[str, dict[str, int]]:
    from upkeep.quarantine import quarantine

    return quarantine(place)


def _evaluation(place: Workspace) -> dict[str, Any]:
    metrics = place.evaluation / "metrics.json"
    return dict(json.loads(metrics.read_text())["unseen"]) if metrics.is_file() else {}


def _disk(place: Workspace) -> dict[str, int]:
    from upkeep.disk_use import disk_use

    return disk_use(place)
