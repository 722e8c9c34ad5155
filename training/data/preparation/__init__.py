"""Published and own pictures with cameras, made into scenes in ZeroNVS's layout."""
