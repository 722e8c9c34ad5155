"""The flow run of a container: `prefect flow-run execute`, which gives a run 30 s, with the time that the container has.

    PREFECT__FLOW_RUN_ID=ID python -m flows.container_run

It is what the job templates in `flows/deploy/` start. Who ends the container kills it when its own patience ends, as Kubernetes
after `grace_seconds`.
"""

import sys

from prefect.cli import app

from flows import patient_processes


def main() -> None:
    """Execute the flow run of the environment."""
    patient_processes.give(patient_processes.MOST_SECONDS)
    sys.argv[1:] = ["flow-run", "execute"]
    app()


if __name__ == "__main__":
    main()
