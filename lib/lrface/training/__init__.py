"""Training: a config, the loop, the runs it leaves behind, and how many of them are trained at
once."""
