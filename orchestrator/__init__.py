"""The laptop side of cloudtune: spec -> data -> estimate -> plan -> run -> ledger.

Must never import torch, transformers or peft, not even lazily: what needs them runs as a subprocess of ``trainer``.
"""

__version__ = "0.1.0"
