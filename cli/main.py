"""The `viewforge` command. An error is one line that says what, where and what to do; `--verbose` adds the traceback.

Run `viewforge --help`.
"""

import os
import sys
import traceback
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from cli import (
    backups,
    catalog,
    comparison,
    data,
    databases,
    demo,
    deploying,
    foreground,
    model_card,
    pipeline,
    promotion,
    reconstruct,
    render,
    retention,
    sampling,
    servers,
    serving,
    shards,
    splatter,
    stages,
    status,
    tracking,
    upkeep,
    verification,
    weights,
)
from stage.errors import ViewforgeError, is_full_disk
from stage.lifeline import die_with_parent
from stage.secrets import redacted

_FIRST = ("catalog", "render", "splatter")


class _InOrder(TyperGroup):
    """The subcommands in the order of the pipeline; Typer puts those that have subcommands of their own last."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ANN401 - the Click inside of Typer is private
        """Names as the help shows them."""
        return [*_FIRST, *(name for name in super().list_commands(ctx) if name not in _FIRST)]


app = typer.Typer(
    cls=_InOrder,
    help="From a collection of 3D assets to an evaluated, registered, promotable novel-view model.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
_VERBOSE = "VIEWFORGE_VERBOSE"


@app.callback()
def options(
    verbose: Annotated[bool, typer.Option("--verbose", help="Show the traceback of an error.")] = False,
) -> None:
    """Options of every subcommand."""
    if verbose:
        # Read where errors end up, and by the processes that a stage starts.
        os.environ[_VERBOSE] = "1"


for group in (
    *(
        catalog,
        render,
        splatter,
        stages,
        shards,
        data,
        pipeline,
        status,
        deploying,
        sampling,
        reconstruct,
        weights,
        comparison,
        promotion,
        model_card,
        retention,
        tracking,
        verification,
        backups,
        servers,
        upkeep,
        foreground,
        databases,
        serving,
        demo,
    ),
):
    group.add_to(app)


def main() -> None:
    """Run the command line; exit status 0, or 1 with one line on standard error, or 75 where running it again goes on."""
    if os.environ.get("DVC_STAGE"):
        # DVC's own death would leave the stage running, in the way of the next attempt.
        die_with_parent()
    try:
        app()
    except ViewforgeError as error:
        _fail(f"{error}", error.EXIT_STATUS)
    except OSError as error:
        _fail(_explained(error))
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception:  # noqa: BLE001 - a fault of ours: all that is known of it, less what libraries put into it of secrets
        print(redacted(traceback.format_exc()), end="", file=sys.stderr)
        sys.exit(1)


def _fail(message: str, status: int = 1) -> None:
    if _VERBOSE in os.environ:
        print(redacted(traceback.format_exc()), end="", file=sys.stderr)
    print(f"viewforge: {redacted(message)}", file=sys.stderr)
    sys.exit(status)


def _explained(error: OSError) -> str:
    place = f" at {error.filename}" if error.filename else ""
    if is_full_disk(error):
        return f"no space left on the disk{place}; free some and run again: what is finished is kept"
    return f"{error.strerror or error}{place}; mend this and run again (--verbose shows where)"


if __name__ == "__main__":
    main()
