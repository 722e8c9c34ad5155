"""A page on which people try a model: `viewforge demo`. Imported by the command line alone; it needs the extra `demo`."""
