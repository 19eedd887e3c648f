"""What a run leaves on disk, from which every figure can be drawn again.

config.json       the complete config, of this one run
metrics.jsonl     one row a line: the step, and numbers by name
status.json       running, done, diverged, preempted or failed; how far
provenance.json   versions, device, commit, conventions of each session
checkpoints/      by Orbax, see `engine/checkpoint.py`
statistics/       states with population statistics, if they were saved
"""
