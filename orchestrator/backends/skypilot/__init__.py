"""Renting through SkyPilot. So far: the timer that a Vast instance carries from its create call on; nothing rents yet."""
