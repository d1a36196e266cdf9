"""What `fibseg watch` serves while runs train: their states, and the page that shows them.

Here: reading run directories again and again, and a server on this machine that only reads.
Not here: the comparison of finished runs (`fibseg.pages.comparison`), which a process makes anew.
Imports neither NumPy's users nor Matplotlib: a watcher must stay small beside the trainings.
"""
