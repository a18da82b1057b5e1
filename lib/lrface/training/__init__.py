"""Training: configs, the loop, runs, sweeps over many networks, several processes, Slurm."""
