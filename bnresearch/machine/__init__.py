"""This process and its machine: devices, other hosts, signals, memory."""
