"""Fills the database of Prefect that the settings name through Prefect's own API, in this process. Run as a program."""

import asyncio
import sys

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.schedules import CronSchedule, IntervalSchedule
from prefect.flows import flow
from prefect.server.api.server import create_app
from prefect.states import Completed, Failed, Running


@flow
def nightly(objects: int = 1) -> int:
    """A flow to make runs of."""
    return objects


async def fill(runs: int) -> None:
    """A deployment with two schedules, runs with states, parameters and tags, a variable, a limit, a block with a secret."""
    async with PrefectClient(create_app(ephemeral=True)) as client:
        identity = await client.create_flow(nightly)
        deployment = await client.create_deployment(
            identity,
            "nightly",
            schedules=[
                DeploymentScheduleCreate(
                    schedule=CronSchedule(cron="0 3 * * *", timezone="Europe/Zurich"), active=True
                ),
                DeploymentScheduleCreate(schedule=IntervalSchedule(interval="PT90.5S"), active=False),
            ],
            parameters={"objects": 3, "ratio": 1e-3, "big": 1e16, "none": None, "z": {"ä": [True, -0.0]}},
            tags=["cpu", "ünïcode"],
        )
        for number in range(runs):
            run = await client.create_flow_run_from_deployment(
                deployment, parameters={"objects": number}, idempotency_key=f"run-{number}"
            )
            for state in (
                Running(),
                Failed(message="1'\"\\ of 3") if number % 3 == 0 else Completed(data={"x": None}),
            ):
                await client.set_flow_run_state(run.id, state, force=True)
        await client.create_global_concurrency_limit(_limit())
        await client.create_variable(_variable())


def _limit():
    from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate

    return GlobalConcurrencyLimitCreate(name="gpu", limit=1, slot_decay_per_second=0.25)


def _variable():
    from prefect.client.schemas.actions import VariableCreate

    return VariableCreate(name="threshold", value={"psnr": 18.0, "list": [None, 1]})


if __name__ == "__main__":
    asyncio.run(fill(int(sys.argv[1])))
