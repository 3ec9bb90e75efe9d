"""The outside world behind the engine's ports. Only here are networks, processes and other machines touched."""
