"""One execution of a Plan: pure state and decisions, the ports they act through, and the only loop."""
