"""What the stages made, compared with `dvc.lock`, and DVC's cache: packs, shards, the model and the evaluation.

DVC takes a file for unchanged whose time and size are: a flipped bit stays unseen, and `dvc repro` goes on with it. Here
every byte is read.
"""

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from stage.errors import InputError
from stage.workspace import Workspace
from upkeep.aside import put_aside
from upkeep.cache_check import CacheContents, aside_folder, check_cache, identity_of
from upkeep.dvc_place import DvcPlace, Output, opened_dvc
from upkeep.findings import Checked, Finding, together
from upkeep.hashing import hash_files

_KINDS = {
    "catalog": "catalogue",
    "renders": "pack",
    "splatters": "splatter",
    "shards": "shard",
    "model": "model",
    "training": "model",
    "evaluation": "evaluation",
}


def check_versions(place: Workspace, repair: bool = False) -> Checked:
    """The cache, then each output of `dvc.lock`; outputs that a process is writing are left out.

    Args:
        place: whose.
        repair: whether damaged files are put aside: cache objects, and outputs that DVC would take for sound.
    """
    if not (place.root / "dvc.lock").is_file():
        return Checked(skipped=(f"outputs: {place.root} has no dvc.lock, which names their hashes",))
    try:
        with opened_dvc(place) as dvc:
            # Before the cache, which takes hours: what is made meanwhile is told by that.
            outputs = dvc.outputs()
            cache, checked = check_cache(dvc.cache, repair)
            return together([checked, *(_undisturbed(_OneOutput(dvc, cache, output, repair)) for output in outputs)])
    except InputError as error:
        return Checked((Finding("catalogue", str(place.root / "dvc.lock"), "cannot be read", str(error)),))


def _undisturbed(one: "_OneOutput") -> Checked:
    """What an output's check finds, unless a stage is at it, or was meanwhile."""
    found = None
    if not (touched := one.dvc.touched(one.output)):
        with suppress(FileNotFoundError):
            found = one.checked()
        if found and not found.findings:
            return found
        touched = one.dvc.touched(one.output)
    if found and not touched:
        return found
    return Checked(skipped=(f"{one.output.path}: {touched or 'it changed meanwhile'}",))


@dataclass(frozen=True)
class _OneOutput:
    """One output beside what is known of it."""

    dvc: DvcPlace
    cache: CacheContents
    output: Output
    repair: bool

    def checked(self) -> Checked:
        """Its files, and whether the cache could restore them."""
        wanted = self._wanted()
        lacking = self._lacking(wanted)
        if not self.output.path.exists():
            remedy = self._restored() if not lacking else f"dvc pull {self.output.name}, or viewforge run"
            return Checked((self._finding(self.output.path, "is missing", remedy), *lacking), 1)
        if wanted is None:
            return together([self._unlisted(), Checked(lacking)])
        there = self._there()
        found = [self._stray(path) for path in sorted(there - wanted.keys())]
        found += [self._finding(p, "is missing", self._restored()) for p in sorted(wanted.keys() - there)]
        return together(
            [Checked(tuple(found)), self._compared(sorted(there & wanted.keys()), wanted), Checked(lacking)]
        )

    def _wanted(self) -> dict[Path, str] | None:
        """MD5 sums by path; None where the list of a folder's files is lost."""
        if not self.output.md5.endswith(".dir"):
            return {self.output.path: self.output.md5}
        if self.output.md5 not in self.cache.sound:
            return None
        listing = json.loads(self.cache.object_path(self.output.md5).read_text())
        return {self.output.path / entry["relpath"]: entry["md5"] for entry in listing}

    def _there(self) -> set[Path]:
        return set(_files(self.output.path)) if self.output.path.is_dir() else {self.output.path}

    def _compared(self, paths: list[Path], wanted: Mapping[Path, str]) -> Checked:
        size = 0
        known = {p: self.cache.digests[identity_of(p)] for p in paths if identity_of(p) in self.cache.digests}
        rest = [path for path in paths if path not in known]
        for file in hash_files(rest, "md5", self.output.stage, len(rest)):
            size += file.bytes
            known[file.path] = file.digest or ""
        found = [self._damaged(path, known[path], wanted[path]) for path in paths if known[path] != wanted[path]]
        return Checked(tuple(found), len(paths), size)

    def _damaged(self, path: Path, digest: str, wanted: str) -> Finding:
        if not digest:
            return self._finding(path, "cannot be read", "mend the disk")
        problem = f"its bytes have the hash {digest[:12]}…, and dvc.lock names {wanted[:12]}…"
        unnoticed = self.dvc.believes(path) == wanted or identity_of(path) in self.cache.damaged.values()
        if not unnoticed:
            remedy = (
                f"see dvc status: dvc checkout --force {self.output.name} brings it back, dvc commit takes it as it is"
            )
            return self._finding(path, problem, remedy)
        if not self.repair:
            remedy = (
                "DVC would not notice: viewforge verify --repair puts it aside, and dvc pull or viewforge run mends it"
            )
            return self._finding(path, problem, remedy)
        aside = put_aside(path, aside_folder(self.cache.folder) / "workspace")
        return self._finding(path, problem, f"put aside at {aside}; {self._restored()}")

    def _stray(self, path: Path) -> Finding:
        return self._finding(
            path, "dvc.lock does not know it", f"delete it, or dvc checkout --force {self.output.name}"
        )

    def _unlisted(self) -> Checked:
        """A folder whose list is lost: the list is made again and its hash compared."""
        files = sorted(_files(self.output.path))
        listing, size = [], 0
        for file in hash_files(files, "md5", self.output.stage, len(files)):
            size += file.bytes
            listing.append({"md5": file.digest, "relpath": file.path.relative_to(self.output.path).as_posix()})
        text = json.dumps(sorted(listing, key=lambda entry: str(entry["relpath"])), sort_keys=True)
        if f"{hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()}.dir" == self.output.md5:
            return Checked((), len(files), size)
        problem = "it is not what dvc.lock names, and the list that tells which file is lost from the cache"
        return Checked((self._finding(self.output.path, problem, self._restored()),), len(files), size)

    def _lacking(self, wanted: Mapping[Path, str] | None) -> tuple[Finding, ...]:
        """That the cache could not restore this output; of damaged objects there is a finding each."""
        if not self.output.cached:
            return ()
        objects = {self.output.md5, *(wanted or {}).values()}
        lost = objects - self.cache.sound - self.cache.damaged.keys()
        if not lost:
            return ()
        problem = f"the cache lacks {len(lost)} of the {len(objects)} objects of {self.output.name}"
        remedy = f"dvc fetch {self.output.name}; without a remote, dvc commit --force {self.output.stage} if its files are sound"
        return (Finding("cache", str(self.cache.folder), problem, remedy),)

    def _restored(self) -> str:
        return f"dvc checkout {self.output.name}, dvc pull {self.output.name} or viewforge run brings it back"

    def _finding(self, path: Path, problem: str, remedy: str) -> Finding:
        kinds = [part for part in self.output.path.parts if part in _KINDS]
        return Finding(_KINDS[kinds[-1]] if kinds else "output", str(path), problem, remedy)


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]
