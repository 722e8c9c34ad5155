"""Two scored folders compared object by object, though each may lack other objects.

`evaluation.comparison` refuses evaluations of other data as a whole. Here the truth's hash of each object tells what can be
paired: objects that both have figures of, of the same true bytes. A figure is compared where its definition and the settings that
it depends on are the same.
"""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from evaluation.comparison import Comparison
from evaluation.evaluated_folder import EvaluatedFolder
from evaluation.folders.publication import COMPARISON_FILE, PROTOCOL
from evaluation.mesh_figures import definitions
from evaluation.metrics.definitions import MetricDefinition
from evaluation.pairs import pairings
from evaluation.parameters import GeometryParameters
from stage.errors import InputError
from stage.files import write_json

_OF_MESHES = ("mesh_frame", "mesh_yaw")
_OF_NO_FIGURE = ("resolution",)
_MESH_DIGITS = 4


def compare_folders(ours: Path, theirs: Path) -> Comparison:
    """Compare two outputs and write `comparison.json` into ours.

    Raises:
        InputError: when one is no scored folder, or they have no object or no figure in common.
    """
    mine, other = scored_folder(ours), scored_folder(theirs)
    figures, others = _figures(mine), _figures(other)
    common = [
        definition for name, (definition, rests_on) in figures.items() if others.get(name, ((), ()))[1] == rests_on
    ]
    if not common:
        raise InputError(
            f"{ours} and {theirs} have no figure of the same definition and settings", "score both in the same way"
        )
    mine, other, alone = _with_common_objects(mine, other)
    found = pairings(mine.objects, other.objects, common)
    if not found:
        raise InputError(f"{ours} and {theirs} have no object with the same truth", "score both against one folder")
    comparison = Comparison(mine, other, (str(ours), str(theirs)), common, found, {}, alone)
    write_json(ours / COMPARISON_FILE, {**comparison.to_json(), "objects": int(mine.objects["uid"].nunique())})
    return comparison


def scored_folder(folder: Path) -> EvaluatedFolder:
    """The output of a scoring.

    Raises:
        InputError: when it is none.
    """
    found = EvaluatedFolder.read(folder)
    if found.metrics.get("protocol") != PROTOCOL:
        raise InputError(
            f"{folder} is no scored folder", "name the --output of another viewforge evaluate --predictions"
        )
    return found


def _figures(folder: EvaluatedFolder) -> dict[str, tuple[MetricDefinition, dict[str, Any]]]:
    """The figures by name, each with all that it rests on beside the objects."""
    settings = folder.details["settings"]
    of_meshes = {key: settings.get(key) for key in _OF_MESHES}
    of_pictures = {key: value for key, value in settings.items() if key not in {*_OF_MESHES, *_OF_NO_FIGURE}}
    found = {of.name: (of, {**asdict(of), **of_pictures}) for of in folder.definitions}
    shapes = _shapes(folder.details)
    return found | {of.name: (of, {**asdict(of), **of_meshes}) for of in shapes}


def _shapes(details: dict[str, Any]) -> list[MetricDefinition]:
    """The definitions of figures about meshes in the form of those about pictures."""
    if "geometry" not in details:
        return []
    return [
        MetricDefinition(
            name, of.title, "", of.better, "object", _MESH_DIGITS, of.text, "mean over objects that have it", of.source
        )
        for name, of in definitions(GeometryParameters.model_validate(details["geometry"])).items()
    ]


def _with_common_objects(
    ours: EvaluatedFolder, theirs: EvaluatedFolder
) -> tuple[EvaluatedFolder, EvaluatedFolder, dict[str, list[str]]]:
    """Both with the rows alone that can be paired, and by folder the objects that cannot."""
    tables = [
        side.objects[(side.objects["method"] == "model") & (side.objects["failure"] == "")] for side in (ours, theirs)
    ]
    keys = [set(zip(table["uid"], table["truth_sha256"], strict=True)) for table in tables]
    common = {uid for uid, _ in keys[0] & keys[1]}
    first, second = (
        replace(side, objects=table[table["uid"].isin(common)])
        for side, table in zip((ours, theirs), tables, strict=True)
    )
    alone = [sorted(uid for uid, _ in own if uid not in common) for own in keys]
    return first, second, {str(ours.folder): alone[0], str(theirs.folder): alone[1]}
