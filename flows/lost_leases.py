"""A run of a deployment goes on without its lease of the deployment's limit, as when the server was away for minutes.

Prefect 3.8 ends such a run and has no setting for that. The limit spares waiting; that two runs never work in one workspace is
held by its lock (`flows.stage_loop`). Imported, it is in force for the flows of this process.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from prefect import flow_engine
from prefect.concurrency._leases import maintain_concurrency_lease


@contextmanager
def maintained(
    lease_id: UUID,
    lease_duration: float,
    raise_on_lease_renewal_failure: bool = False,  # noqa: ARG001 - what Prefect asks for
    suppress_warnings: bool = False,
) -> Iterator[None]:
    """Renew a lease, and warn when it is lost. Arguments are those of Prefect's function of that purpose."""
    with maintain_concurrency_lease(lease_id, lease_duration, False, suppress_warnings):
        yield


flow_engine.maintain_concurrency_lease = maintained
