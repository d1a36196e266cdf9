"""Finished runs side by side: rows, contrasts, statistics and tables; reads files, needs no network.

Here: what `fibseg compare` computes and says.
Not here: pages and figures (`fibseg.pages`), reading a run (`fibseg.runs`).
"""
