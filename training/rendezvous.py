"""How the machines of a training find one another: from parameters, or from the variables that clusters set."""

import os
from collections.abc import Mapping

from stage.errors import ParameterError
from stage.share import Share
from training.parameters import LaunchParameters

# Of torchrun's and Kubeflow's jobs, of most clouds, and of Slurm's `srun`.
RANK_VARIABLES = ("PET_NODE_RANK", "NODE_RANK", "MACHINE_RANK", "GROUP_RANK", "SLURM_NODEID")
ADDRESS_VARIABLES = ("PET_MASTER_ADDR", "MASTER_ADDR")
PORT_VARIABLES = ("PET_MASTER_PORT", "MASTER_PORT")
_PORT = "29500"
# As long as machines may take to start after one another.
JOIN_SECONDS = 600


def machine_rank(parameters: LaunchParameters, environment: Mapping[str, str]) -> int:
    """This machine's number, from 0.

    Raises:
        ParameterError: when nothing says it, or it is none.
    """
    if parameters.machines == 1:
        return 0
    rank = _found("machine_rank", parameters.machine_rank, RANK_VARIABLES, environment)
    if not rank.isdecimal() or int(rank) >= parameters.machines:
        raise ParameterError(
            f"{rank} is no number of one of {parameters.machines} machines",
            "count from 0 in train.launch.machine_rank",
        )
    return int(rank)


def machine_share(parameters: LaunchParameters) -> Share | None:
    """This machine's part of the stage: several machines work on it in one workspace, and none of them twice."""
    if parameters.machines == 1:
        return None
    return Share(machine_rank(parameters, os.environ) + 1, parameters.machines)


def rendezvous(parameters: LaunchParameters, environment: Mapping[str, str]) -> list[str]:
    """Options of `accelerate launch` by which the processes find one another.

    Raises:
        ParameterError: when there are several machines and nothing says where the first one is.
    """
    if parameters.processes % parameters.machines:
        raise ParameterError(
            f"train.launch.processes = {parameters.processes} cannot be split over {parameters.machines} machines",
            "make it a multiple of train.launch.machines",
        )
    if parameters.machines == 1:
        return ["--main_process_port=0"] if parameters.processes > 1 else []
    address = _found("main_address", parameters.main_address, ADDRESS_VARIABLES, environment)
    port = _found("main_port", parameters.main_port, PORT_VARIABLES, {PORT_VARIABLES[-1]: _PORT, **environment})
    rank = machine_rank(parameters, environment)
    # Torch's own rendezvous; machine 0 holds its store, whatever names the address goes by.
    meeting = ["--rdzv_backend=c10d", f"--rdzv_conf=is_host={int(rank == 0)},join_timeout={JOIN_SECONDS}"]
    return [f"--machine_rank={rank}", f"--main_process_ip={address}", f"--main_process_port={port}", *meeting]


def _found(name: str, given: object, variables: tuple[str, ...], environment: Mapping[str, str]) -> str:
    found = [str(given)] if given is not None else [environment[key] for key in variables if environment.get(key)]
    if not found:
        raise ParameterError(
            f"train.launch.machines is more than 1, and nothing says train.launch.{name}",
            f"set it, or one of {', '.join(variables)}",
        )
    return found[0]
