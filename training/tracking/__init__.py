"""Where a training reports: the trackers, and the journal through which MLflow is told."""
