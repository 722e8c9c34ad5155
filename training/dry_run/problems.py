"""What stands in the way of a training, each with its place and remedy."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from stage.errors import ViewforgeError


@dataclass(frozen=True)
class Problem:
    """One thing that a training would fail from, or a person should know before it starts."""

    place: str
    """Which part of the plan: a shard set by its name, or what is looked at."""
    what: str
    """What is wrong, and where."""
    remedy: str
    fatal: bool = True
    """Whether the training would fail from it; otherwise it is a warning."""


def problem_of(error: ViewforgeError, place: str, *, fatal: bool = True) -> Problem:
    """An error as a problem."""
    what = str(error)
    return Problem(place, what.removesuffix(f"; {error.remedy}") if error.remedy else what, error.remedy, fatal)


@contextmanager
def noting(problems: list[Problem], place: str) -> Iterator[None]:
    """A block whose errors become problems."""
    try:
        yield
    except ViewforgeError as error:
        problems.append(problem_of(error, place))
    except OSError as error:
        where = f"{error.filename} " if error.filename else ""
        problems.append(
            Problem(place, f"{where}cannot be read: {error.strerror or error}", "mend this, then plan again")
        )
