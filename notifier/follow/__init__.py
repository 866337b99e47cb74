"""From a watch to a commit."""
