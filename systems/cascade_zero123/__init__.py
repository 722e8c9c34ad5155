"""Cascade-Zero123 (Chen et al. 2023, arXiv 2312.04424): a Zero-1-to-3 that prompts itself with nearby views."""
