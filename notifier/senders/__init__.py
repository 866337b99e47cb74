"""Adapters that deliver events to endpoints."""
