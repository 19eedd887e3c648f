"""Benchmarks: one runnable file per measurement of speed, beside others.

`python -m benchmarks` lists them with the verdicts of their last results.
`_timing.py` lets the contestants take turns in one run, as only ratios within
a run say something of a noisy machine; `_<name>_contestants.py` has those of
one benchmark, and `_peak.py` what the machine can do at most.
"""
