"""Configs: the numbers one might sweep. All begin from `default.py`."""
