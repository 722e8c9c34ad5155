"""One script per performance claim: `python -m benchmarks.NAME`.

The last line is `name: figure (goal)`; the exit status is 1 when the figure falls short of its goal.
"""
