"""Benchmarks: one runnable file per comparison of speed with other libraries.

`python -m benchmarks` lists them with the verdicts of their last results.
`_timing.py` lets contestants take turns in one run, as only ratios within a run
are meaningful on a noisy machine; `_<name>_contestants.py` holds the
contestants of a benchmark, and `_peak.py` measures the machine's peak.
"""
