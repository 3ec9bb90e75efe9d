"""One runnable module for each claim of performance; a number in the README has a command here that prints it."""
