"""Where the tars of a shard set are when they are not beside its index: `location.json`, in the place of the tars.

A folder with an index and such a file is a small thing that DVC versions; whoever reads it goes on to the address for the bytes.
"""

import json
import os
from pathlib import Path

from stage.errors import InputError
from stage.files import write_json
from stage.secrets import filled

LOCATION = "location.json"


def read_location(folder: Path) -> str | None:
    """The URL or path at which the tars of a folder's index are; None when they are beside it.

    Raises:
        InputError: when the file is damaged.
    """
    path = folder / LOCATION
    try:
        return str(json.loads(path.read_text())["root"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, LookupError, TypeError):
        raise InputError(f"{path} is damaged", "restore it with dvc pull, or run viewforge shard again") from None


def completed(address: str) -> str:
    """An address with the environment's values in place of references such as `${SHARDS_PASSWORD}`.

    Raises:
        InputError: naming the variable that is not set.
    """
    try:
        return filled(address, os.environ)
    except KeyError as error:
        raise InputError(f"{address} names the variable {error.args[0]}, which is not set", "set it") from None


def write_location(folder: Path, root: str) -> None:
    """Say that the tars are at `root`, a URL without secrets or an absolute path."""
    write_json(folder / LOCATION, {"root": root})
