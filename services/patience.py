"""How long things are waited for."""

START_SECONDS = 300.0
"""Until all services of an installation answer: half a minute on a quiet machine, minutes on a busy one."""
GRACE_SECONDS = 45.0
"""For flow runs to end, and again to stop: more than `train.launch.grace_seconds` gives a training for its checkpoint."""
