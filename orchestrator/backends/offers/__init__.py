"""Where offers come from: the snapshot in the package, live sources, and the cache between them."""
