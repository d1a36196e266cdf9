"""What a notebook calls: plain values in, arrays, dataclasses and data frames out.

Here: the functions that `import fibseg` offers under its own name. Not here: what a terminal calls
(`fibseg.commands`), and the work itself.
"""
