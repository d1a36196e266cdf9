"""Multirun launchers of runs and predictions: on this machine or a Ray cluster, and on Slurm.

Here: only the names that Hydra looks up. The work is done in `fibseg.sweeps`.

At each start Hydra imports every module of this package whose name has no leading underscore, so
each of them must be quick to import.
"""
