"""One program for each peer of `benchmarks.peers`, run by the Python of that peer.

Here: trainings that stop after a number of CPU seconds, and predictions. Nothing but `own` imports
fibseg, so that an environment of a peer needs no more than the peer.
"""
