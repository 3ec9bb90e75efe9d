"""The rented side of cloudtune: trains one adapter from one config file, alone on a bare machine.

Started as ``python -P -m trainer CONFIG``. Must never import ``orchestrator``: the box has only this folder.
"""
