"""The preview of a farm: a contact sheet an object and one page to look through them, `viewforge render preview`.

Writes a folder with `index.html` and `sheets/<uid[:2]>/<uid>-<fingerprint>.png`. The page needs no network and holds a thumbnail
of each object, so that it may be passed on alone. Where the sheets are beside it, it shows them as they come into sight: within
the page those of 10,000 objects would be a file of half a gigabyte that no browser opens. Failed and waiting objects are listed
too, with reason and the tail of standard error. What has not changed is not drawn again.
"""

import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from blender_render.contact_sheet import object_sheet, overview, sheet_size, thumbnail
from blender_render.farm import Farm
from blender_render.parameters import RenderParameters
from blender_render.status import ObjectStatus, Status, bring_back, object_statuses
from catalog.licences import licence_of
from catalog.table import Asset, read_table
from stage.errors import InputError
from stage.files import replacing, write_text
from stage.packs import object_folder
from stage.pages import page_environment
from stage.parameters import load_section, load_seed
from stage.progress import Progress
from stage.workspace import Workspace

_TEMPLATE = "preview.html.jinja"
_TAIL_CHARACTERS = 2000
_FINGERPRINT_DIGITS = 12
_OVERVIEW_OBJECTS, _OVERVIEW_COLUMNS = 40, 8


def write_preview(folder: Path, parameters: RenderParameters, seed: int, workspace: Workspace) -> Counter[Status]:
    """Write the preview of a workspace's renderings; how many objects there are of each status.

    Raises:
        InputError: when there is no catalogue, or none of its objects is selected.
    """
    catalogue = read_table(workspace.catalog / "catalog.parquet")
    assets = [asset for asset in catalogue if asset.selected]
    if not assets:
        raise InputError(f"{workspace.catalog} selects no object", "see the column reason of catalog.parquet")
    farm = _farm(parameters, seed, workspace)
    bring_back(farm, assets)
    statuses = object_statuses(farm, assets)
    sheets = _write_sheets(folder, farm, statuses)
    cards = [_card(status, *sheet) for status, sheet in zip(statuses, sheets, strict=True)]
    page = _template().render(cards=cards, statuses=list(Status), left_out=len(catalogue) - len(assets))
    write_text(folder / "index.html", page)
    return Counter(status.status for status in statuses)


def _farm(parameters: RenderParameters, seed: int, workspace: Workspace) -> Farm:
    """The farm of the render stage."""
    return Farm(workspace.scratch / "renders", parameters, seed, workspace)


@dataclass(frozen=True)
class Look:
    """What became of a workspace's objects, and the first views of the first of them."""

    statuses: list[ObjectStatus]
    overview: Image.Image


def look(workspace: Workspace) -> Look:
    """A short look at the renderings that a workspace's parameters ask for.

    Raises:
        InputError: when there is no catalogue, or a picture is damaged.
        ParameterError: when the parameters are mistaken.
    """
    parameters = load_section(workspace.parameters, "render", RenderParameters)
    farm = _farm(parameters, load_seed(workspace.parameters), workspace)
    assets = [asset for asset in read_table(workspace.catalog / "catalog.parquet") if asset.selected]
    statuses = object_statuses(farm, assets)
    shown = [status.asset for status in statuses if status.status.has_views][:_OVERVIEW_OBJECTS]
    bring_back(farm, shown)
    return Look(statuses, overview([object_folder(farm.root, asset.uid) for asset in shown], _OVERVIEW_COLUMNS))


def _write_sheets(folder: Path, farm: Farm, statuses: Sequence[ObjectStatus]) -> list[tuple[str, str]]:
    """Draw the sheets that are missing, remove those of nobody; place and thumbnail of each, empty without good pictures."""
    names = [_sheet_name(status) for status in statuses]
    with (
        Progress("preview", len(names), "objects") as progress,
        ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool,
    ):
        drawn = []
        for pair in pool.map(lambda pair: _drawn(folder, farm, *pair), zip(statuses, names, strict=True)):
            drawn.append(pair)
            progress.advance()
    for stray in {path.relative_to(folder).as_posix() for path in folder.glob("sheets/*/*.png")} - {
        name for name, _ in drawn
    }:
        (folder / stray).unlink()
    return drawn


def _drawn(folder: Path, farm: Farm, status: ObjectStatus, name: str) -> tuple[str, str]:
    if not name:
        return "", ""
    if (folder / name).is_file():
        with Image.open(folder / name) as drawn:
            return name, thumbnail(drawn)
    try:
        sheet = object_sheet(object_folder(farm.root, status.asset.uid), len(status.record["coverage"]))
    except InputError:
        return "", ""
    with replacing(folder / name) as temporary:
        sheet.save(temporary, format="png")
    return name, thumbnail(sheet)


def _sheet_name(status: ObjectStatus) -> str:
    if not status.status.has_views:
        return ""
    uid = status.asset.uid
    return f"sheets/{uid[:2]}/{uid}-{status.record['fingerprint'][:_FINGERPRINT_DIGITS]}.png"


def _card(status: ObjectStatus, sheet: str, thumbnail: str) -> dict[str, Any]:
    """What the page shows of one object."""
    asset, coverage, outcome = status.asset, status.record.get("coverage", []), status.outcome
    return {
        "uid": asset.uid,
        "title": asset.title,
        "status": str(status.status),
        "failure": status.failure,
        "message": status.message,
        "stderr": str(outcome.get("stderr_tail", ""))[-_TAIL_CHARACTERS:] if status.failure else "",
        "licence": licence_of(asset.licence).identifier,
        "author": asset.author,
        "split": asset.split,
        "page": _web_page(asset),
        "warnings": status.record.get("warnings", []),
        "sheet": sheet,
        "thumbnail": thumbnail,
        "size": sheet_size(len(coverage)) if sheet else None,
        "facts": _facts(coverage, status.record.get("statistics", {}), outcome),
    }


def _web_page(asset: Asset) -> str:
    """Where people see the object; only the web's addresses, as the catalogue holds other people's words."""
    return asset.page if asset.page.startswith(("https://", "http://")) else ""


def _facts(coverage: Sequence[float], statistics: dict[str, Any], outcome: dict[str, Any]) -> str:
    """Numbers in one line."""
    facts = [f"{len(coverage)} views, {sum(coverage) / len(coverage):.1%} covered"] if coverage else []
    if "faces" in statistics:
        facts.append(f"{statistics['faces']:,} faces")
    if "seconds" in outcome:
        facts.append(f"{outcome['seconds']:.1f} s, {outcome['peak_memory_bytes'] / 2**20:,.0f} MiB")
    if outcome.get("attempt", 1) > 1:
        facts.append(f"attempt {outcome['attempt']}")
    return " · ".join(facts)


def _template() -> Any:  # noqa: ANN401 - jinja2's template renders anything
    environment = page_environment(Path(__file__).parent)
    environment.policies["json.dumps_kwargs"] = {"sort_keys": True, "ensure_ascii": False, "separators": (",", ":")}
    return environment.get_template(_TEMPLATE)
