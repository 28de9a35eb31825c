"""``python -m progan``: the command line, for torchrun and for places without the console script."""

import sys

from progan.cli import main

if __name__ == "__main__":
    sys.exit(main())
