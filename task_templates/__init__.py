"""Data package: one folder per job template that ``cloudtune init`` copies."""
