"""The loop that all optimisations of a field run in: seeds, checkpoints, failures, figures and previews."""
