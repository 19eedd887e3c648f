"""Training: state, objective, optimizer, step, and what feeds it."""
