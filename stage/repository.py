"""What git says of the folder that something was made in; nothing where there is no git, no repository or no commit."""

import subprocess
from pathlib import Path

# They change with every run, and lineage records the hash of the one; neither makes the code another.
_RUN_OUTPUTS = (":(exclude)dvc.lock", ":(exclude)promotion.json", ":(exclude)promotion.md")


def git(root: Path, *arguments: str) -> str | None:
    """What git answers; None outside a repository, before its first commit, or without git."""
    try:
        answer = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=False)
    except OSError:
        return None
    return answer.stdout.strip() if answer.returncode == 0 else None


def commit_of(root: Path) -> str | None:
    """The commit that is checked out."""
    return git(root, "rev-parse", "HEAD")


def has_changes(root: Path) -> bool | None:
    """Whether anything below a folder differs from the commit, but for what a run writes; None where git does not say."""
    changes = git(root, "status", "--porcelain", "--", ".", *_RUN_OUTPUTS) if commit_of(root) else None
    return None if changes is None else bool(changes)
