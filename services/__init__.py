"""The servers and workers of an installation: what runs, on which address, whether it is healthy, how it starts and ends."""
