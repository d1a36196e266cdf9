"""What a user calls: one module per command, and the same programs as functions for a notebook.

Here: arguments in, the library called, text out; `main` has the table, `interface` the functions.
Not here: the work itself, which the packages below do.
"""

import os

# OpenMP reads it when torch loads it. By default torch's threads spin for long while they wait for
# each other, on cores that the threads that filter need.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
