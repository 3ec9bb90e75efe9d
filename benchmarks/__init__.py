"""One runnable module a performance claim: ``python -m benchmarks.NAME`` prints the numbers the README states."""
