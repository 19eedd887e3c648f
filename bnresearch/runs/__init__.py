"""What a run leaves on disk: enough to draw every figure again.

config.json       the complete config of this one run, and its format
data.json         how many images each split has, and their digest
class_names.json  the classes
metrics.jsonl     one row per line: the step, and numbers by name
status.json       running, done, diverged, preempted or failed; how far. If it
                  says running but nobody holds .lock, the run was interrupted
provenance.json   versions, device, commit, conventions of each session
checkpoints/      by Orbax, see `checkpoint.py`
statistics/       states with population statistics, if they were saved
tensorboard/, wandb/   what the mirrors wrote
"""
