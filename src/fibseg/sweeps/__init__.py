"""Many runs side by side: the driver, the pools of Ray and Slurm, places on a machine, the live table.

Here: everything of a launcher but its Hydra names.
Not here: one run (`fibseg.training`), comparing runs (`fibseg.comparison`).
"""
