"""What a user calls: one module per command, and the same programs as functions for a notebook.

Here: arguments in, the library called, text out; `main` has the table, `interface` the functions.
Not here: the work itself, which the packages below do.
"""
