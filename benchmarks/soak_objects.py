"""The objects of the soak: each run brings one, and none may be lost on the way or be there twice."""

from collections import Counter
from pathlib import Path

import pandas as pd
import trimesh

from stage.seeds import generator
from stage.workspace import Workspace


def write_object(folder: Path, number: int, seed: int) -> None:
    """A box of its own proportions as `box-00042.ply`."""
    sides = generator(seed, str(number), "soak").uniform(0.3, 1.0, 3)
    temporary = folder / f".box-{number:05d}.part"
    temporary.write_bytes(trimesh.creation.box(sides).export(file_type="ply"))
    temporary.rename(folder / f"box-{number:05d}.ply")


def astray(workspace: Workspace, folder: Path) -> list[str]:
    """What is wrong with the objects of a workspace that is up to date: lost, there twice, or there for no reason."""
    expected = Counter(path.name for path in folder.glob("*.ply"))
    catalog = pd.read_parquet(workspace.catalog / "catalog.parquet")
    uids = Counter(catalog.uid)
    renders = pd.read_parquet(workspace.renders / "objects.parquet")
    index = pd.read_parquet(workspace.shards / "index.parquet")
    counted = {
        "catalogue": (expected, Counter(Path(path).name for path in catalog.path)),
        "uids of the catalogue": (Counter(set(uids)), uids),
        "rendered objects": (uids, Counter(renders.uid[renders.complete])),
        "shards": (uids, Counter(index.key)),
    }
    problems = []
    for place, (wanted, found) in counted.items():
        lost, twice = wanted - found, found - wanted
        if lost or twice:
            problems.append(f"{place}: {lost.total()} lost, {twice.total()} too many")
    return problems
