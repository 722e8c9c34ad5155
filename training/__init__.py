"""The engine that every trainable system runs on, and `data/`, the shards that it reads."""
