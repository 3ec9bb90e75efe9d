"""The command line: Typer commands without logic, wiring, and views for people and for programs."""
