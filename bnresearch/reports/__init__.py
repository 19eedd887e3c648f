"""Reports: tables, figures and pages, from run directories and nothing else."""
