"""Many runs side by side: the plan, the driver, the pools of Ray and Slurm, slots, the live table.

Here: everything of a launcher except the names that Hydra looks up (`hydra_plugins`).
Not here: training one run (`fibseg.training`), comparing finished runs (`fibseg.comparison`).

Nothing is re-exported: a launcher imports the modules that it needs when a sweep starts, because
Ray and submitit are slow to import, and may not be installed.
"""
