"""The frame of every node: parameters, lifecycle, diagnostics, one goal at a time, work in threads."""
