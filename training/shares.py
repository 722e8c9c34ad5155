"""How the pairs of a step are shared out: to processes, and in each of them to batches whose gradients are added up."""

from stage.errors import ParameterError
from training.parameters import TrainParameters


def pairs_at_once(parameters: TrainParameters) -> int:
    """Pairs of one forward pass of one process.

    Raises:
        ParameterError: when the pairs of a step cannot be shared out evenly, or the processes to the machines.
    """
    launch = parameters.launch
    if launch.processes % launch.machines:
        raise ParameterError(
            f"train.launch.processes = {launch.processes} cannot be shared by {launch.machines} machines",
            "give the processes of all machines together, equally many on each",
        )
    shares = launch.processes * launch.accumulate
    if parameters.batch_size % shares:
        raise ParameterError(
            f"train.batch_size = {parameters.batch_size} cannot be split into {shares} equal parts "
            f"({launch.processes} processes × {launch.accumulate} accumulated)",
            "make it a multiple of that",
        )
    return parameters.batch_size // shares


def check_split(parameters: TrainParameters, processes: int) -> None:
    """Refuse to train with other processes than were asked for, or with shares that are not equal.

    Args:
        parameters: the run.
        processes: those that were started, on all machines.

    Raises:
        ParameterError: saying which it is.
    """
    if processes != parameters.launch.processes:
        raise ParameterError(
            f"train.launch.processes = {parameters.launch.processes}, yet {processes} were started",
            "start training with viewforge train",
        )
    pairs_at_once(parameters)
