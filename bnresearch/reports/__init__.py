"""Reports: tables and figures, made from run directories and nothing else."""
