"""Multirun launchers: over the GPUs or cores of this machine or a Ray cluster, and over Slurm.

Hydra imports every module here whose name has no leading underscore at each start, so only `launchers` has none.
"""
