"""ZeroNVS's shards as a set of a training: found, scanned once for all its processes, and counted."""

import os
from pathlib import Path

from geometry.scene_scales import ScaleName
from stage.errors import InputError
from stage.files import json_sha256
from training.data.dataset_parameters import DataParameters, DatasetParameters
from training.data.zeronvs_scales import WantedScales
from training.data.zeronvs_shards import SceneShards, is_pattern, local_path, shards_in, shards_of
from training.data.zeronvs_source import ZeroNvsScenes

_INDICES = "scratch/scene_indices"
# What a process scans while another one starts, where depth is read: fewer bytes than this are not worth one.
_SCANNED_MEANWHILE = 64 * 2**20


def open_scenes(
    dataset: DatasetParameters, parameters: DataParameters, root: Path, split: str, scale: ScaleName | None
) -> ZeroNvsScenes:
    """The scenes of one split of a set.

    A folder's splits are told apart by the names of its shards (`training.data.zeronvs_shards`); a pattern names some of train.

    Args:
        dataset: the set.
        parameters: of all sets; where it names an estimator, depth is made dense.
        root: of the workspace, whose scratch space keeps what a scan has found.
        split: train, val or test.
        scale: which one of the views the system needs; for one of depth the scan reads all of it.

    Raises:
        InputError: naming the set, when it has no such scene, a shard is missing or damaged, another number of scenes is there
            than is said, or the estimator that is asked for is not available.
    """
    estimator = root / parameters.depth_estimator if parameters.depth_estimator else None
    wanted = WantedScales(estimator, depth=scale != "scene_radius") if scale else None
    try:
        shards = _shards(dataset, root)
        scenes = ZeroNvsScenes(shards, _index_file(shards, root), _processes(shards), wanted, split, scale=scale)
    except InputError as error:
        what = str(error).removesuffix(f"; {error.remedy}")
        raise InputError(f"{dataset.where}: {what}", error.remedy) from None
    if split == "train" and dataset.scenes not in (None, len(scenes)):
        raise InputError(
            f"{dataset.where}: {dataset.scenes:,} scenes are stated, the shards in {shards.folder} hold {len(scenes):,}",
            "state what is there, or complete the shards",
        )
    return scenes


def _shards(dataset: DatasetParameters, root: Path) -> SceneShards:
    if is_pattern(dataset.place):
        return shards_of(dataset.place, dataset.shards, root)
    shards = shards_in(root / local_path(dataset.place))
    if dataset.shards not in (None, len(shards.names)):
        raise InputError(
            f"{dataset.shards} shards are stated, {shards.folder} holds {len(shards.names)}", "mend either"
        )
    return shards


def _index_file(shards: SceneShards, root: Path) -> Path:
    """In scratch space: published shards may lie where nobody may write."""
    name = json_sha256([str(shards.folder.resolve()), shards.names])[:16]
    return root / _INDICES / f"{name}.parquet"


def _processes(shards: SceneShards) -> int:
    work = sum(int(size) for _, size, _ in shards.states())
    return max(1, min(len(os.sched_getaffinity(0)), work // _SCANNED_MEANWHILE))
