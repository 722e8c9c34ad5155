"""A deployment's run whose lease cannot be renewed goes on; Prefect by itself ends it."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from prefect import flow_engine
from prefect._internal.concurrency.cancellation import CancelledError
from prefect.concurrency import _leases

from flows import lost_leases


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """When a lease was to be renewed by a server that is away."""
    times: list[float] = []

    def refused(**_: object) -> None:
        times.append(time.monotonic())
        raise ConnectionError("All connection attempts failed")

    @contextmanager
    def client(**_: object) -> Iterator[SimpleNamespace]:
        yield SimpleNamespace(renew_concurrency_lease=refused)

    monkeypatch.setattr(_leases, "get_client", client)
    monkeypatch.setattr(_leases, "_RENEWAL_RETRY_BASE_DELAY", 0.05)
    return times


def work(maintain: Callable[..., Any], tried: list[float]) -> int:
    """A run that outlives its lease, held as Prefect's engine does; how often renewing it was tried."""
    with maintain(UUID(int=7), 300, raise_on_lease_renewal_failure=True):
        until = time.monotonic() + 10
        while len(tried) < 3 and time.monotonic() < until:
            time.sleep(0.01)
        # Prefect's exception comes from another thread, between two instructions.
        for _ in range(20):
            time.sleep(0.01)
    return len(tried)


def test_a_run_outlives_its_lease(tried: list[float]) -> None:
    assert flow_engine.maintain_concurrency_lease is lost_leases.maintained
    assert "maintain_concurrency_lease" in flow_engine.FlowRunEngine.setup_run_context.__wrapped__.__code__.co_names  # type: ignore[attr-defined]
    assert work(flow_engine.maintain_concurrency_lease, tried) == 3


def test_prefect_would_end_it(tried: list[float]) -> None:
    with pytest.raises(CancelledError):
        work(_leases.maintain_concurrency_lease, tried)
