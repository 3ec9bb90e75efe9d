"""What was asked: the job file, its diagnostics, and the import of a notebook. May read local files; nothing else."""
