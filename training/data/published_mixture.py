"""The mixture that a training configuration of ZeroNVS describes, read from that file as it is.

    train: {data: {published: configs/sd-objaverse-finetune-c_concat-256.yaml, size: 256}}

Each `dataset_config_*` of `data.params.train_config` is a set of ZeroNVS's shards: `dataset_name` (co3d, re10k or acid, the three
that its loader knows), `dataset_url` with `{shard}` for the numbers from 0 to `dataset_n_shards`, or with braces,
`dataset_n_scenes`, `probability` and `rate`. `views_per_scene` is about how many there are; what counts are the views themselves.
`compute_nearplane_quantile` is passed over: the mode decides which scales are needed. Source: kylesargent/zeronvs_diffusion
`ldm/data/webdataset_utils.py`, `get_loader` and `get_dataset`.
"""

from collections import Counter
from pathlib import Path
from typing import Any

import yaml
from pydantic import ConfigDict

from stage.errors import InputError, ParameterError
from stage.parameters import Parameters, validated
from training.data.dataset_parameters import DataParameters, DatasetParameters

_BLOCK = "dataset_config_"
_NAMES = ("co3d", "re10k", "acid")
_REMEDY = "name a training configuration of ZeroNVS"


class PublishedDataset(DatasetParameters):
    """One set of a published mixture."""

    stated: str
    """File and block that state it."""

    @property
    def where(self) -> str:
        """Where its parameters are written, for messages."""
        return self.stated


class _Block(Parameters):
    """A `dataset_config_*` as it is published; keys that decide nothing here are passed over."""

    model_config = ConfigDict(extra="ignore")

    dataset_name: str
    dataset_url: str | None
    dataset_n_shards: int
    dataset_n_scenes: int
    probability: float
    rate: float | str


def with_published(parameters: DataParameters, root: Path) -> DataParameters:
    """The same with the sets of the configuration that `published` names, where it names one.

    Args:
        parameters: of a training.
        root: of the workspace.

    Raises:
        InputError: when the file is missing, no YAML, or describes no mixture.
        ParameterError: naming file and block, when a value is missing or impossible, or the probabilities do not sum to 1.
    """
    if parameters.published is None:
        return parameters
    return parameters.model_copy(update={"datasets": published_datasets(root / parameters.published)})


def published_datasets(file: Path) -> tuple[PublishedDataset, ...]:
    """The sets of a configuration, named as they are there, or like their blocks where names repeat; raises as above."""
    blocks = {key: _checked(f"{file}: {key}", values) for key, values in _blocks(file).items()}
    names = Counter(block.dataset_name for block in blocks.values())
    datasets = tuple(
        _dataset(block, block.dataset_name if names[block.dataset_name] == 1 else key, f"{file}: {key}")
        for key, block in blocks.items()
    )
    total = sum(dataset.probability for dataset in datasets)
    if abs(total - 1) > 1e-6:
        said = ", ".join(f"{key} {block.probability:g}" for key, block in blocks.items())
        raise ParameterError(f"{file}: the probabilities sum to {total:g} ({said})", "make them sum to 1")
    return datasets


def _blocks(file: Path) -> dict[str, Any]:
    """The blocks of the training's mixture, in the file's order."""
    try:
        section = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{file}: {error.strerror}", _REMEDY) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{file} is no YAML: {' '.join(str(error).split())}", _REMEDY) from None
    for key in ("data", "params", "train_config"):
        section = section.get(key) if isinstance(section, dict) else None
    mapping = section if isinstance(section, dict) else {}
    blocks = {str(key): values for key, values in mapping.items() if str(key).startswith(_BLOCK)}
    if not blocks:
        raise InputError(f"{file} has no {_BLOCK}* in data.params.train_config", _REMEDY)
    return blocks


def _checked(where: str, values: object) -> _Block:
    block = validated(_Block, values, where)
    if block.dataset_name not in _NAMES:
        raise ParameterError(
            f"{where}: dataset_name is {block.dataset_name!r}",
            f"give {', '.join(_NAMES[:-1])} or {_NAMES[-1]}, which ZeroNVS' loader reads; others fit train.data.datasets",
        )
    if not block.dataset_url:
        remedy = f"fill in where the shards of {block.dataset_name} are, with {{shard}} for their numbers"
        raise ParameterError(f"{where}: dataset_url is empty", remedy)
    return block


def _dataset(block: _Block, name: str, where: str) -> PublishedDataset:
    values = {
        "name": name,
        "place": block.dataset_url,
        "layout": "zeronvs",
        "shards": block.dataset_n_shards,
        "scenes": block.dataset_n_scenes,
        "probability": block.probability,
        "rate": block.rate,
        "stated": where,
    }
    return validated(PublishedDataset, values, where)
