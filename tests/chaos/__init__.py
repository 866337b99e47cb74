"""The program as real processes under faults, seeded, with a record that the judge reads: `python -m chaos --help`."""
