"""Train one run, or a sweep of runs with -m; the same program as `fibseg train`."""

import sys

from fibseg.commands.train import main

if __name__ == "__main__":
    sys.exit(main())
