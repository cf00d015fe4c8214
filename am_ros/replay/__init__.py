"""Memory-mapped store built from bags; goals are sampled and relabelled when read."""
