"""Labels of slices and of whole cells by a trained model.

Here: windows, the network over a slice, ensembles, stacks slice by slice, outputs that survive a kill.
Not here: training (`fibseg.training`), scores (`fibseg.scores`).
"""
