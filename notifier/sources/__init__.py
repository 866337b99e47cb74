"""Adapters that read task states from upstreams."""
