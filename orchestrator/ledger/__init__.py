"""The journal of every run and the money views over it: one SQLite database, never two truths."""
