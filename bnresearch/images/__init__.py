"""Images on the host: files decoded, crops made, without JAX."""
