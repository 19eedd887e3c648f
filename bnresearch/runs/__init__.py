"""What a run leaves on disk, from which every figure can be drawn again.

config.json       the complete config, of this one run, and its format
data.json         how many images each split has, and their digest
class_names.json  the classes
metrics.jsonl     one row a line: the step, and numbers by name
status.json       running, done, diverged, preempted or failed; how far. What
                  says running, while nobody holds .lock, was interrupted
provenance.json   versions, device, commit, conventions of each session
checkpoints/      by Orbax, see `checkpoint.py`
statistics/       states with population statistics, if they were saved
tensorboard/, wandb/   what mirrors have written
"""
