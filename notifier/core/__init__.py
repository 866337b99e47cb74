"""Values and decisions: no I/O, no clock, no randomness; everything enters as an argument."""
