"""Shards: written, indexed and read. Standard WebDataset tars with an index beside them."""
