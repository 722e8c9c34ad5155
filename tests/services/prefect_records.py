"""Fills the database of Prefect that the settings name, through Prefect's own API in this process.

python prefect_records.py RUNS
"""

import asyncio
import sys

from prefect.blocks.system import Secret
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import (
    DeploymentScheduleCreate,
    GlobalConcurrencyLimitCreate,
    VariableCreate,
)
from prefect.client.schemas.schedules import CronSchedule, IntervalSchedule
from prefect.events.actions import DoNothing
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
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
        await client.create_global_concurrency_limit(
            GlobalConcurrencyLimitCreate(name="gpu", limit=1, slot_decay_per_second=0.25)
        )
        await client.create_variable(VariableCreate(name="threshold", value={"psnr": 18.0, "list": [None, 1]}))
        await client.create_automation(_automation())
        await Secret(value="a word").asave("token", client=client)


def _automation() -> AutomationCore:
    trigger = EventTrigger(expect={"viewforge.trained"}, posture=Posture.Reactive, threshold=1)
    return AutomationCore(name="after training", trigger=trigger, actions=[DoNothing()])


if __name__ == "__main__":
    asyncio.run(fill(int(sys.argv[1])))
