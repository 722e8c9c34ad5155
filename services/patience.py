"""How long things are waited for."""

START_SECONDS = 300.0
"""Until all services of an installation answer: half a minute on a quiet machine, minutes on a busy one."""
GRACE_SECONDS = 60.0
"""For flow runs to stop when asked: more than `train.launch.grace_seconds` gives a training for its checkpoint."""
RUN_SECONDS = 86400.0
"""What a worker leaves its runs for stopping: who ends the worker decides when they are killed."""
