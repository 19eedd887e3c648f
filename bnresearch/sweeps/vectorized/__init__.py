"""The vectorized launcher: points that differ in numbers, as one program."""
