"""One module a cloud: what exists under cloudtune's names, from the cloud's own API, without SkyPilot. Lists; never rents."""
