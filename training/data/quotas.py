"""Quotas: whole numbers that come as close as they can to given shares, in all and in every run of neighbours.

`largest_remainder` says how often each dataset comes in an epoch; `spread_evenly` deals these draws out to the slots of a global
batch so that every rank, which owns a run of neighbouring slots, gets its even share of each dataset.
"""

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from jaxtyping import Int


def largest_remainder(shares: Sequence[Fraction], total: int) -> list[int]:
    """Whole numbers that sum to `total`, each less than one away from its share of it (Hamilton's method).

    Args:
        shares: what each is to have, summing to 1.
        total: what there is to give out.
    """
    quotas = [share * total for share in shares]
    counts = [int(quota) for quota in quotas]
    # Sorting is stable: of equal remainders the first ones get what is left.
    order = sorted(range(len(shares)), key=lambda number: counts[number] - quotas[number])
    for number in order[: total - sum(counts)]:
        counts[number] += 1
    return counts


def spread_evenly(counts: Sequence[int], slots: int) -> Int[np.ndarray, "s d"]:
    """How many of each kind every slot gets, all slots equally many.

    The first k slots together have less than one away from k/slots of each kind, for every k; so any run of neighbouring slots
    is less than two away from its share.

    What does not divide evenly is scheduled unit by unit with windows as in Baruah et al., "Proportionate progress" (1996): the
    j-th unit of a kind with rate λ may come from step ⌊(j−1)/λ⌋+1 to step ⌈j/λ⌉. A schedule exists whenever the rates sum to
    one, and giving each step to the open unit whose window closes first finds it.

    Args:
        counts: how many of each kind there are; their sum is a multiple of `slots`.
        slots: number of slots.
    """
    rest = [count % slots for count in counts]
    steps = sum(rest)
    spread = np.tile(np.array(counts, dtype=np.int64) // slots, (slots, 1))
    given = [0] * len(counts)
    for step in range(1, steps + 1):
        unfinished = [kind for kind, has in enumerate(given) if has * steps < rest[kind] * step]
        kind = min(unfinished, key=lambda kind: -(-(given[kind] + 1) * steps // rest[kind]))
        given[kind] += 1
        spread[(step - 1) * slots // steps, kind] += 1
    return spread
