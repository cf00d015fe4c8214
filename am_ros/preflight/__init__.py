"""Pre-flight: what of a cell is not as its nodes expect it, found before anything moves."""
