"""The processes of a training: how accelerate is set up, and how a model is spread over them.

`sharding: none` gives each process the whole model (DistributedDataParallel). `sharding: full` gives each one its part of every
weight, gradient and optimiser state (torch's `fully_shard`, FSDP2); a block's weights come together while it computes.
"""

from datetime import timedelta

import torch
from accelerate import Accelerator
from accelerate.utils import InitProcessGroupKwargs
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from stage.errors import ParameterError
from systems.trainable import TrainableSystem
from training.parameters import LaunchParameters

# A process may wait for another one whose server is slow to answer again; what ends is noticed at once.
_PATIENCE = timedelta(hours=1)


def accelerator_of(parameters: LaunchParameters) -> Accelerator:
    """The processes that `accelerate launch` started, and their number format.

    Raises:
        ParameterError: when the number format needs what is not there.
    """
    gpu = torch.cuda.is_available()
    if parameters.mixed_precision == "fp16" and not gpu:
        raise ParameterError("train.launch.mixed_precision = fp16 needs a CUDA GPU", "set it to bf16 or no")
    if parameters.mixed_precision == "fp16" and parameters.sharding != "none":
        raise ParameterError("train.launch.sharding does not go with fp16", "set train.launch.mixed_precision to bf16")
    return Accelerator(
        cpu=not gpu,
        mixed_precision=parameters.mixed_precision,
        kwargs_handlers=[InitProcessGroupKwargs(timeout=_PATIENCE)],
    )


def shard(system: TrainableSystem, accelerator: Accelerator) -> None:
    """Split a system's weights among the processes, in place; its optimiser is to be made afterwards.

    What is gathered at once is a block of the denoiser, and all the rest together; what the system wants whole is left as it is.
    """
    system.to(accelerator.device)
    mesh = init_device_mesh(accelerator.device.type, (accelerator.num_processes,))
    for block in _blocks(system.denoiser):
        fully_shard(block, mesh=mesh)
    left = {parameter for module in system.whole_modules() for parameter in module.parameters()}
    fully_shard(system, mesh=mesh, ignored_params=left or None)


def prepare(
    accelerator: Accelerator, system: TrainableSystem, optimizer: torch.optim.Optimizer
) -> tuple[nn.Module, torch.optim.Optimizer]:
    """The model whose backward pass exchanges gradients, in the run's number format, and its optimiser."""
    if not is_sharded(system):
        model, optimizer = accelerator.prepare(system, optimizer)
        return model, optimizer
    # For "evaluation" accelerate leaves out DistributedDataParallel and nothing else.
    return accelerator.prepare_model(system, evaluation_mode=True), accelerator.prepare(optimizer)


def is_sharded(system: nn.Module) -> bool:
    """Whether processes hold parts of the weights."""
    return any(isinstance(parameter, DTensor) for parameter in system.parameters())


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor put together from the processes' parts; all of them have to call this."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def placed_as(tensor: torch.Tensor, sample: torch.Tensor) -> torch.Tensor:
    """A whole tensor, which every process has, on the device of a sample and split as the sample is."""
    moved = tensor.to(sample.device)
    if not isinstance(sample, DTensor):
        return moved
    return distribute_tensor(moved, sample.device_mesh, sample.placements, src_data_rank=None)


def _blocks(denoiser: nn.Module) -> list[nn.Module]:
    """The parts of a network that compute one after another: the members of its lists of modules, or itself."""
    lists = [child for child in denoiser.children() if isinstance(child, nn.ModuleList)]
    return [block for children in lists for block in children]
