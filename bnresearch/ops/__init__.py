"""Fast forms of operations, each equal to its plain form and tested so."""
