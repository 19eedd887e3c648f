"""Configs: the numbers one might sweep. `default.py` has every knob."""
