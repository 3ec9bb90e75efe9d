"""The RunPod rig: the provider's HTTP API is emulated, everything else is real. See ../README.md."""
