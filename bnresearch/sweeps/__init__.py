"""Sweeps: the points of a config, and the launchers that run them."""
