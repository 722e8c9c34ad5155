"""What flows say of errors: the user's in one line, those of libraries without secrets, in logs and in Prefect's states.

Imported, it is in force: Prefect's loggers of flow and task runs pass everything through it.
"""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

from stage.errors import ViewforgeError
from stage.secrets import redacted

_LOGGERS = ("prefect.flow_runs", "prefect.task_runs")
_FORMATTER = logging.Formatter()


class _Plain(logging.Filter):
    """Takes secrets out of a record, and the traceback of an error that is meant for the user."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Keep the record, changed."""
        record.msg, record.args = redacted(record.getMessage()), None
        if record.exc_info and not (
            isinstance(record.exc_info[1], ViewforgeError) and "VIEWFORGE_VERBOSE" not in os.environ
        ):
            record.exc_text = redacted(_FORMATTER.formatException(record.exc_info))
        record.exc_info = None
        return True


for _name in _LOGGERS:
    logging.getLogger(_name).addFilter(_Plain())


@contextmanager
def without_secrets() -> Iterator[None]:
    """Raise what holds a secret as one line without it: Prefect keeps the text of a run's error in its state and result.

    Raises:
        ViewforgeError: in place of an error of a library whose text holds a secret.
    """
    try:
        yield
    except ViewforgeError:
        raise
    except Exception as error:
        if redacted(text := str(error)) == text:
            raise
        raise ViewforgeError(
            f"{type(error).__name__}: {text}", "see the log of the run, or that of the server that refused"
        ) from None
