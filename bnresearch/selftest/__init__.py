"""Is the science the same on all devices here? `python -m bnresearch.selftest`.

`cases.py` has the options of batch normalization, and a training step of each;
`steps.py` makes it on some devices, and says what differs between two of them.
"""
