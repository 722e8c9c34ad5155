"""Slots: how many stages of all runs of a server work on GPUs and in Blender at once, as `viewforge deploy` set it.

They are leases: one whose holder was killed comes free by itself after a minute. Tag limits of Prefect 3.8 would not.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import httpx
import tenacity
from prefect import get_run_logger
from prefect.client.orchestration import get_client
from prefect.concurrency.sync import concurrency
from prefect.exceptions import ObjectNotFound
from prefect.settings import get_current_settings

from stage.errors import InputError

_LEASE_SECONDS = 60.0
# While the server is away, as for a restart, a stage waits to begin, and does not fail once it is done.
_AWAY_SECONDS, _AGAIN_SECONDS = 600.0, 5.0


@contextmanager
def slots(needs: dict[str, int]) -> Iterator[None]:
    """Wait for slots and hold them; nothing without a server, where there is nobody to share with.

    Args:
        needs: how many of each limit; of a limit that is lower, all of it.

    Raises:
        InputError: when the server has no such limit.
    """
    held = ExitStack()
    try:
        if get_current_settings().api.url:
            # In one order, so that no two runs wait for each other.
            for name in sorted(needs):
                _patiently()(_hold, held, name, needs[name])
        yield
    finally:
        _release(held)


def _patiently() -> tenacity.Retrying:
    return tenacity.Retrying(
        retry=tenacity.retry_if_exception(_is_away),
        wait=tenacity.wait_fixed(_AGAIN_SECONDS),
        stop=tenacity.stop_after_delay(_AWAY_SECONDS),
        before_sleep=lambda state: get_run_logger().info("waiting: %s", state.outcome and state.outcome.exception()),
        reraise=True,
    )


def _is_away(error: BaseException) -> bool:
    return isinstance(error, httpx.TransportError) or isinstance(error.__cause__, httpx.TransportError)


def _release(held: ExitStack) -> None:
    try:
        held.close()
    except httpx.HTTPError as error:
        get_run_logger().warning("the slots come free by themselves: %s", error)


def _hold(held: ExitStack, name: str, number: int) -> None:
    # Of a limit that somebody set to 0, one is waited for.
    occupied = max(1, min(number, _limit(name)))
    get_run_logger().info("waiting for %d of the slots %s", occupied, name)
    # A training of days does not end because the server was away for a minute, so a lost lease is a warning.
    held.enter_context(
        concurrency(name, occupied, lease_duration=_LEASE_SECONDS, strict=True, raise_on_lease_renewal_failure=False)
    )


def _limit(name: str) -> int:
    with get_client(sync_client=True) as client:
        try:
            limit = client.read_global_concurrency_limit_by_name(name)
        except ObjectNotFound:
            raise InputError(f"the Prefect server has no concurrency limit {name}", "run viewforge deploy") from None
    return int(limit.limit)
