"""Label a stack with a trained model; the same program as `fibseg predict`."""

import sys

from fibseg.commands.predict import main

if __name__ == "__main__":
    sys.exit(main())
