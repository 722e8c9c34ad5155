"""Model registry: a trained and evaluated pipeline becomes a version, and a gate decides whether it serves."""
