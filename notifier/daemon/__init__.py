"""The process: built, changed by a reload, stopped."""
