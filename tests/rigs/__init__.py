"""Rigs: real machines behind emulated clouds, on one Linux computer. See README.md in this folder."""
