"""Fuzzing of everything that reads what strangers write. `make fuzz SECONDS=60` runs it."""
