"""Exact evaluation under named statistics, and their estimation."""
