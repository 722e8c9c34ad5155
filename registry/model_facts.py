"""What a model card says of how a model was made: `facts.json` and `attribution.md`, written when its version is registered.

Later the workspace may be gone or hold another model, so the facts go with the version's run. What is not known is left out;
nothing is supposed.
"""

import json
import tempfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mlflow.entities.model_registry import ModelVersion
from mlflow.tracking import MlflowClient

from blender_render.parameters import RenderParameters
from catalog.attribution import attribution, model_objects, uncredited
from catalog.licences import Licence, licence_of
from catalog.table import Asset
from registry.lineage import read_provenance
from registry.logged_model import training_step
from registry.run_artifacts import fetch_folder
from registry.served_pipeline import LIMITS, picture_size
from stage.errors import InputError, ViewforgeError
from stage.files import file_sha256, write_json, write_text
from stage.parameters import load_section
from stage.workspace import Workspace
from systems.zero123.foreign_weights import pipeline_class

FACTS_TAG = "card.facts"
FACTS_FILE = "facts.json"
ATTRIBUTION_FILE = "attribution.md"


def log_facts(client: MlflowClient, run_id: str, workspace: Workspace) -> dict[str, str]:
    """Log the facts about a workspace's model to a run; the tag that leads to them.

    Args:
        client: the registry's.
        run_id: of the run.
        workspace: whose model.
    """
    with tempfile.TemporaryDirectory(prefix="viewforge-facts-") as name:
        folder = Path(name)
        assets = _trained_on(workspace)
        if assets:
            write_text(folder / ATTRIBUTION_FILE, attribution(assets, "the objects that the model was trained on"))
        write_json(folder / FACTS_FILE, facts_of(workspace, assets))
        place = f"card/{file_sha256(folder / FACTS_FILE)[:12]}"
        client.log_artifacts(run_id, name, place)
    return {FACTS_TAG: place}


def fetch_facts(client: MlflowClient, version: ModelVersion, folder: Path) -> dict[str, Any]:
    """The facts that a version carries; empty for one that was registered without, or whose run is gone.

    Args:
        client: the registry's.
        version: whose.
        folder: where to download them to, and the attribution with them.

    Raises:
        InputError: when they are out of reach at the moment, or damaged: a card would say that licences are not recorded.
    """
    place = version.tags.get(FACTS_TAG)
    found = fetch_folder(client, str(version.run_id), place, folder) if place else None
    if found is None:
        return {}
    try:
        return dict(json.loads((found / FACTS_FILE).read_text()))
    except (OSError, ValueError, TypeError):
        what = f"{place}/{FACTS_FILE} of the run {version.run_id}"
        raise InputError(f"{what} cannot be read", "restore its run's artifacts, or delete that folder") from None


def facts_of(workspace: Workspace, assets: list[Asset]) -> dict[str, Any]:
    """System, pictures, training, data and limits of a workspace's model.

    Args:
        workspace: whose.
        assets: the objects that the model learnt; empty where they are not known.
    """
    origin = read_provenance(workspace)
    asked = origin.get("parameters") or {}
    return {
        "pipeline": pipeline_class(workspace.model),
        "system": asked.get("system"),
        "picture_size": picture_size(workspace.model),
        "files": sum(path.stat().st_size for path in workspace.model.rglob("*") if path.is_file()),
        "training": {
            "steps": training_step(workspace) or asked.get("steps"),
            "batch_size": asked.get("batch_size"),
            "seed": origin.get("seed"),
            "optimizer": asked.get("optimizer") or {},
        },
        "shard_sets": origin.get("shards_sha256") or {},
        "views": _views(workspace),
        "data": _data(assets) if assets else {},
        "request_limits": LIMITS,
    }


def _trained_on(workspace: Workspace) -> list[Asset]:
    """The objects behind the weights; none where this workspace does not hold the one shard set that they learnt."""
    try:
        return model_objects(workspace, workspace.model, workspace.shards)
    except ViewforgeError:
        return []


def _views(workspace: Workspace) -> dict[str, Any]:
    try:
        rendered = load_section(workspace.parameters, "render", RenderParameters)
    except ViewforgeError:
        return {}
    return {"protocol": rendered.protocol, "views": rendered.views, "resolution": rendered.resolution}


def _data(assets: list[Asset]) -> dict[str, Any]:
    licences = Counter(licence_of(asset.licence) for asset in assets)
    return {
        "objects": len(assets),
        "sources": dict(sorted(Counter(asset.source for asset in assets).items())),
        "licences": [_licence(licence, count) for licence, count in _by_number(licences.items())],
        "uncredited": len(uncredited(assets)),
    }


def _by_number(counts: Iterable[tuple[Licence, int]]) -> list[tuple[Licence, int]]:
    return sorted(counts, key=lambda item: (-item[1], item[0].identifier))


def _licence(licence: Licence, count: int) -> dict[str, Any]:
    allowed = {name: getattr(licence, name) for name in ("commercial", "derivatives", "attribution")}
    return {"identifier": licence.identifier, "objects": count, "deed": licence.deed, **allowed}
