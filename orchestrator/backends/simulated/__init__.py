"""A cloud that lies, a clock that jumps and controllers that die: one seed is one night, the same to the byte.

``world`` keeps the truth, ``ports`` shows the engine only what a real cloud would show it, ``night`` runs the
production ``drive`` and journal through it, ``checks`` compares the journal's story with the truth.
"""
