"""Evaluation: what a trained model's pictures are worth, beside baselines that cost nothing."""
