"""The HTTP listener: health, metrics, API."""
