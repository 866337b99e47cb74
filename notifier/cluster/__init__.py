"""Several nodes on one database."""

__all__ = [
    "leadership",
    "membership",
    "peers",
    "row_counts",
]
