"""From a commit to a settled delivery."""
