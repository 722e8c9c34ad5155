"""The stage graph and what is stale in it, as DVC knows them: `dvc.yaml` is the only list of stages."""

from pathlib import Path
from typing import Any

import networkx

from upkeep.repository import opened


def stage_order(root: Path) -> list[str]:
    """Names of the stages of a workspace, each after those it depends on.

    Raises:
        InputError: when the folder is no DVC repository or its dvc.yaml cannot be read.
    """
    with opened(root) as repo:
        return [stage.addressing for stage in in_order(repo)]


def in_order(repo: Any) -> list[Any]:  # noqa: ANN401 - DVC's repository and stages
    """The stages of an open repository, each after those it depends on, otherwise in the order of dvc.yaml.

    Files that `dvc add` follows are none.
    """
    graph = repo.index.graph
    position = {stage: number for number, stage in enumerate(graph.nodes)}
    ordered = networkx.lexicographical_topological_sort(graph.reverse(), key=position.__getitem__)
    return [stage for stage in ordered if not stage.is_data_source]


def dependents(root: Path) -> dict[str, set[str]]:
    """For each stage, all stages downstream of it."""
    with opened(root) as repo:
        graph: Any = repo.index.graph
        return {stage.addressing: {s.addressing for s in networkx.ancestors(graph, stage)} for stage in graph.nodes}


def stale_stages(root: Path) -> dict[str, list[str]]:
    """The stages that would run, with the reasons that DVC gives; a stage downstream of one counts as stale as well.

    Raises:
        InputError: when the folder is no DVC repository or its dvc.yaml cannot be read.
    """
    with opened(root) as repo:
        status = repo.status()
    direct = {stage: _reasons(changes) for stage, changes in status.items()}
    downstream = dependents(root)
    return {
        stage: direct.get(stage) or [f"upstream: {above}" for above in direct if stage in downstream[above]]
        for stage in stage_order(root)
        if stage in direct or any(stage in downstream[above] for above in direct)
    }


def _reasons(changes: list[Any]) -> list[str]:
    reasons: list[str] = []
    for change in changes:
        if isinstance(change, str):
            reasons.append(change)
            continue
        for kind, items in change.items():
            reasons += [f"{kind}: {name}" for name in items]
    return reasons
