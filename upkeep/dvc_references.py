"""What refers to objects of DVC's cache: files `dvc.lock` and `*.dvc`, those of git's revisions too, as a project for DVC."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from registry.data_version import LOCK
from stage.errors import InputError
from stage.repository import commit_of, git

_SINGLE = ".dvc"
_REFERENCES = ("refs/heads", "refs/tags", "refs/exps", "refs/stash")
_FORMAT = "%(objecttype) %(*objecttype) %(objectname)"


@dataclass(frozen=True)
class HeldFile:
    """A file that refers to objects of the cache."""

    of: str
    """Whose it is, for a message."""
    name: str
    """`dvc.lock`, or one that ends with `.dvc`."""
    text: str
    """Its content."""


def files_of_git(root: Path) -> Iterator[HeldFile]:
    """Those of what is checked out, of each branch, tag and experiment, and of the stash; none without a repository of git.

    Args:
        root: of a workspace; of a larger repository only what is below it counts.

    Raises:
        InputError: when git does not say.
    """
    if git(root, "rev-parse", "--git-dir") is None and not (root / ".git").exists():
        return
    rows = _answer(root, "for-each-ref", f"--format={_FORMAT}", *_REFERENCES).splitlines()
    commits = {row.split()[-1] for row in rows if "commit" in row.split()[:-1]}
    for commit in sorted(commits | {commit_of(root) or ""} - {""}):
        for path in _answer(root, "ls-tree", "-r", "-z", "--name-only", commit).split("\0"):
            name = Path(path).name
            if name == LOCK or (name.endswith(_SINGLE) and name != _SINGLE):
                yield HeldFile(f"{path} of commit {commit[:12]}", name, _answer(root, "show", f"{commit}:./{path}"))


def write_references(folder: Path, file: HeldFile) -> None:
    """Write a file's outputs as DVC reads them, whatever stages there are today.

    Args:
        folder: to be made, in a project of DVC's.
        file: whose outputs.

    Raises:
        InputError: when it cannot be read, so that nobody knows what it refers to.
    """
    folder.mkdir()
    try:
        values = yaml.safe_load(file.text) or {}
        if file.name == LOCK:
            _write_stages(folder, values)
        elif outs := values.get("outs"):
            (folder / "data.dvc").write_text(yaml.safe_dump({"outs": outs}))
    except (yaml.YAMLError, AttributeError, KeyError, TypeError):
        raise InputError(f"{file.of} cannot be read, and what it refers to is not known", "mend it") from None


def _write_stages(folder: Path, lock: Any) -> None:  # noqa: ANN401 - of YAML
    # One without stages has nothing but its schema; the layout of DVC 1 had no schema, and is not read.
    stages = list(lock["stages"].values()) if set(lock) - {"schema"} else []
    names = [f"stage{number}" for number in range(len(stages))]
    outs = [[out["path"] for out in stage.get("outs", ())] for stage in stages]
    made = {name: {"cmd": "true", "outs": paths} for name, paths in zip(names, outs, strict=True)}
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": made}))
    (folder / LOCK).write_text(yaml.safe_dump({**lock, "stages": dict(zip(names, stages, strict=True))}))


def _answer(root: Path, *arguments: str) -> str:
    answer = git(root, *arguments)
    if answer is None:
        raise InputError(f"git {arguments[0]} fails in {root}", "see git status there")
    return answer
