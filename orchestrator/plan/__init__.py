"""Offers, their price for this job, and how far the budget reaches. Pure: no network, no disk, no clock."""
