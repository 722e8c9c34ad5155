"""Typed parameters: each room owns a model, `params.yaml` holds a section for each, unknown keys are errors.

`load_section` reads one stage's section; `overridden` applies `section.key=value` assignments from a command line. An unknown
key is answered with the nearest valid one.
"""

import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from stage.errors import InputError, ParameterError
from stage.secrets import secret_in

ModelType = TypeVar("ModelType", bound="Parameters")


class Parameters(BaseModel):
    """Base of all parameter models: immutable, no unknown keys, a docstring under every field."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, validate_default=True)


def read_parameters(path: Path) -> dict[str, Any]:
    """The whole parameter file as a dictionary.

    Raises:
        InputError: when the file is missing.
        ParameterError: when it is no YAML mapping, or holds what looks like a secret.
    """
    try:
        values = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise InputError(
            f"no parameter file {path}", "run in a viewforge workspace or name one with --workspace"
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ParameterError(f"{path} is not YAML: {_in_one_line(error)}", "mend the file") from None
    if not isinstance(values, dict):
        raise ParameterError(f"{path} holds no mapping of sections", "compare it with the repository's params.yaml")
    refuse_secrets(values, str(path))
    return values


def refuse_secrets(values: Any, where: str) -> None:  # noqa: ANN401 - any YAML value
    """Refuse parameters with a secret: they are versioned, tracked and shown to everyone.

    Args:
        values: what a YAML file holds.
        where: the file, for the message, which never says the secret.

    Raises:
        ParameterError: naming the parameter.
    """
    if found := secret_in(values):
        name, kind = found
        raise ParameterError(
            f"{where}: {name} holds {kind}",
            "keep it in the environment; an address of shards may name a variable, as https://${USER}:${PASSWORD}@host/shards",
        )


def load_section(path: Path, section: str, model: type[ModelType]) -> ModelType:
    """One section of the parameter file as its typed model."""
    values = read_parameters(path).get(section)
    return validated(model, {} if values is None else values, place=f"{path}: {section}")


def load_seed(path: Path) -> int:
    """The run's seed, from which all others derive."""
    seed = read_parameters(path).get("seed", 0)
    if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
        raise ParameterError(f"{path}: seed is {seed!r}", "give a whole number of 0 or more")
    return seed


def validated(model: type[ModelType], values: Any, place: str) -> ModelType:  # noqa: ANN401 - any YAML value
    """`values` as `model`, or a one-line `ParameterError` that names the place, the key and the nearest valid key."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise ParameterError(*_explain(error, model, place)) from None


def _explain(error: ValidationError, model: type[BaseModel], place: str) -> tuple[str, str]:
    # A misspelt required key is both unknown and missing; that it is unknown says more.
    first = min(error.errors(), key=lambda mistake: mistake["type"] != "extra_forbidden")
    location = ".".join(str(part) for part in first["loc"])
    where = f"{place}.{location}" if location else place
    if first["type"] == "extra_forbidden":
        return f"unknown parameter {where}", nearest_remedy(str(first["loc"][-1]), _valid_keys(model, first["loc"]))
    return f"{where} = {first['input']!r}: {first['msg'].lower()}", "mend this value"


def _valid_keys(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """Keys that are valid at the innermost model that `location` leads into, also one of a list."""
    for part in location[:-1]:
        field = model.model_fields.get(str(part))
        annotations = [field.annotation, *get_args(field.annotation)] if field else []
        model = next((a for a in annotations if isinstance(a, type) and issubclass(a, BaseModel)), model)
    return list(model.model_fields)


def nearest_remedy(key: str, valid: Iterable[str]) -> str:
    """A remedy for an unknown key: the nearest valid key, or all valid keys when none is near."""
    valid = list(valid)
    near = difflib.get_close_matches(key, valid, n=1, cutoff=0.6)
    return f"did you mean {near[0]}?" if near else f"valid keys are {', '.join(sorted(valid))}"


def overridden(values: dict[str, Any], assignments: Iterable[str]) -> dict[str, Any]:
    """A copy of `values` with `section.key=value` assignments applied; the values are read as YAML.

    Raises:
        ParameterError: when an assignment has no `=`, an empty name, a value that is no YAML, a parent that is no section, or
            what looks like a secret.
    """
    result: dict[str, Any] = yaml.safe_load(yaml.safe_dump(values))
    for assignment in assignments:
        path, separator, text = assignment.partition("=")
        *parents, leaf = path.strip().split(".")
        if not separator or not all((*parents, leaf)):
            raise ParameterError(f"cannot read the assignment {assignment!r}", "write it as section.key=value")
        target = result
        for parent in parents:
            if target.get(parent) is None:
                target[parent] = {}
            target = target[parent]
            if not isinstance(target, dict):
                raise ParameterError(f"{assignment!r}: {parent} is no section", "write it as section.key=value")
        try:
            target[leaf] = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ParameterError(f"{assignment!r}: {_in_one_line(error)}", "quote the value as YAML") from None
    refuse_secrets(result, "the assignments")
    return result


def _in_one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def merged(base: dict[str, Any], override: dict[str, Any]) -> dict[str, Any]:
    """`base` with the values of `override` laid over it, section by section."""
    result = dict(base)
    for key, value in override.items():
        below = result.get(key)
        result[key] = merged(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return result
