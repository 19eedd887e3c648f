"""Configs: the numbers one might sweep. All start from `default.py`."""
