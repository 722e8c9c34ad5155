"""One module a published method: what it minimises, and with which settings."""
