"""Training: state, objective, optimizer, step, evaluation, checkpoints, loop.

Read `loop.py` first: it is the story, the other files are its verbs.
"""
