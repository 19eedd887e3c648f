"""Experiments: one runnable study per published figure, table or claim.

`python -m experiments` lists them with the verdicts of their last results.
`_study.py` carries one that trains a sweep and brings config, `judge`, `draw`;
`_inception.py` has what the studies of Inception share. Speed is measured in
`benchmarks`.
"""
