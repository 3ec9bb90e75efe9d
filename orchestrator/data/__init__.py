"""From a dataset as people have it to canonical rows, every problem found before anything is started."""
