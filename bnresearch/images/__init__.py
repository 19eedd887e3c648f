"""Images on the host, without JAX: files decoded, boxes drawn, crops made."""
