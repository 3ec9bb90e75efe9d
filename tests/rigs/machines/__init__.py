"""What the rented rigs share: instances that are real machines, their true bill, faults, a server, and the rig around them. See ../README.md."""
