"""Batch statistics: moments, groups of examples, and a batch over devices."""
