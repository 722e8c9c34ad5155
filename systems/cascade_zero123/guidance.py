"""What the Refiner's denoiser is told, and what guidance leads away from."""

from dataclasses import replace

import torch

from systems.cascade_zero123.conditioning import PromptEmbeddings, prompt_tokens
from systems.zero123.conditioning import CCProjection
from systems.zero123.guidance import Condition
from systems.zero123.parameters import NullCondition


def prompted(
    condition: Condition, projection: CCProjection, prompts: PromptEmbeddings, null: NullCondition
) -> Condition:
    """Zero-1-to-3's condition with the tokens of the prompts behind the source's.

    The null tokens are all zero *after* `cc_projection`, as the released pipeline makes those of whatever tokens it has. Or they
    are as training drops them, *before* it: without the embeddings of source and coarse target, with near views and all poses
    kept, so that guidance leads away from nothing that near views say.

    Args:
        condition: of the source.
        projection: the Refiner's.
        prompts: a row for each of the condition's.
        null: which null tokens.
    """
    tokens = prompt_tokens(projection, prompts)
    if null == "after_projection":
        without = torch.zeros_like(tokens)
    else:
        without = prompt_tokens(projection, prompts.keeping_target(prompts.coarse.new_zeros(len(tokens))))
    return replace(
        condition,
        token=torch.cat([condition.token, tokens], dim=1),
        null_token=torch.cat([condition.null_token, without], dim=1),
    )
