"""How a training is started and watched: heartbeats, restarts, reasons of an end, and jobs of Slurm."""
