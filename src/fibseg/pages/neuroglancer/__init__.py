"""OME-Zarr in Neuroglancer, a viewer that runs in a browser: what it shows, and who serves it.

Here: the state of the viewer, and a server on this machine that gives out the files of a picture.
Not here: how OME-Zarr is read and written (`fibseg.stack`).
"""
