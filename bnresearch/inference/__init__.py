"""After training: open a run, restore it, evaluate it, inspect it."""
