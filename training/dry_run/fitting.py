"""How many pairs at once a GPU has room for."""

from training.dry_run.memory import HEADROOM, MemorySettings, gpu_memory
from training.dry_run.outline import Outline
from training.dry_run.trace import StepTrace, traced


def largest_fitting(
    outline: Outline, settings: MemorySettings, known: StepTrace, share: int, available: int | None
) -> int | None:
    """The largest number of pairs at once that divides a process' share of a step and fits.

    Args:
        outline: of the system.
        settings: of the training.
        known: what some number of pairs take.
        share: pairs of a step that one process takes.
        available: bytes of a GPU; None where it is not known.
    """
    if available is None:
        return None
    room = available * (1 - HEADROOM)

    def fits(trace: StepTrace) -> bool:
        return gpu_memory(outline.system, settings, trace.activations).total <= room

    one = known if known.pairs == 1 else _trace(outline, settings, 1)
    if not fits(one):
        return None
    # Nearly a straight line, so that few of the candidates have to be looked at.
    slope = max(1.0, (known.activations - one.activations) / max(1, known.pairs - one.pairs))
    for pairs in sorted((number for number in range(1, share + 1) if share % number == 0), reverse=True):
        likely = StepTrace(pairs, int(one.activations + slope * (pairs - 1)), None)
        if pairs == known.pairs and fits(known):
            return pairs
        if pairs != known.pairs and fits(likely) and fits(_trace(outline, settings, pairs)):
            return pairs
    return 1


def _trace(outline: Outline, settings: MemorySettings, pairs: int) -> StepTrace:
    return traced(outline, pairs, settings.precision, checkpointing=settings.checkpointing)
