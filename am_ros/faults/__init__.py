"""Faults put into a running system on purpose, and what came of each: `make faults`, `am-ros faults`."""
