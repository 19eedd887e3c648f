"""Exact evaluation under named statistics, and how these are estimated."""
