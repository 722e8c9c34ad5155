"""What went wrong with objects, in whatever stage: the rows of the report's table of failures and warnings."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import pandas as pd

from catalog.stats import left_out
from catalog.table import read_table
from evaluation.protocol import Subset
from evaluation.scores import ObjectScores
from stage.failures import Outcome
from stage.workspace import Workspace

# A selection may leave out most of a catalogue of a million: objects beyond this number share a row for their reason.
_LISTED = 20


@dataclass(frozen=True)
class Problem:
    """One object's failure ("quarantined": it was not used), exclusion ("left out") or warning ("used")."""

    stage: str
    uid: str
    title: str
    consequence: str
    what: str

    def row(self) -> dict[str, str]:
        """The problem as JSON."""
        return asdict(self)


def subset_problems(subset: Subset, unanswered: Sequence[Outcome] = ()) -> list[Problem]:
    """Problems with the objects of an evaluation.

    Args:
        subset: the objects, those that there are no pictures of among them.
        unanswered: the objects that the model has no answer for.
    """
    stage = f"evaluate, {subset.name}"
    titles = {asset.uid: asset.title for asset in subset.selection.assets}
    failed = [
        Problem(stage, o.uid, titles[o.uid], "quarantined", f"{o.failure}: {o.message}")
        for o in (*subset.failures, *unanswered)
    ]
    seen = "the model was trained on the same file"
    left_out = [Problem(stage, a.uid, a.title, "left out", seen) for a in subset.selection.left_out]
    warned = [Problem(stage, a.uid, a.title, "used", text) for a in subset.assets for text in subset.warnings(a)]
    return failed + left_out + warned


def mesh_problems(scores: Sequence[ObjectScores]) -> list[Problem]:
    """Figures about meshes that objects lack; in the means they are left out."""
    return [
        Problem(f"evaluate, {score.subset}", score.uid, score.title, "used", f"mesh figures {score.mesh.note}")
        for score in scores
        if score.mesh and score.mesh.missing
    ]


def earlier_problems(workspace: Workspace) -> list[Problem]:
    """Problems of the stages before, from their tables where these are at hand."""
    return _catalogue_problems(workspace) + _render_problems(workspace)


def _catalogue_problems(workspace: Workspace) -> list[Problem]:
    path = workspace.catalog / "catalog.parquet"
    if not path.is_file():
        return []
    found = []
    for reason, assets in left_out(read_table(path)).items():
        if len(assets) > _LISTED:
            found.append(Problem("catalog", "", f"{len(assets)} objects", "left out", reason))
        else:
            found += [Problem("catalog", asset.uid, asset.title, "left out", asset.reason) for asset in assets]
    return found


def _render_problems(workspace: Workspace) -> list[Problem]:
    path = workspace.renders / "objects.parquet"
    if not path.is_file():
        return []
    found = []
    for row in pd.read_parquet(path).to_dict("records"):
        uid, title = str(row["uid"]), str(row["title"])
        if not row["complete"]:
            found.append(Problem("render", uid, title, "quarantined", f"{row['failure']}: {row['message']}"))
        found += [Problem("render", uid, title, "used", text) for text in str(row["warnings"]).split("; ") if text]
    return found
