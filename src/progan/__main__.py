"""Entry point of ``python -m progan``, for torchrun and for environments without the console script."""

import sys

from progan.cli import main

if __name__ == "__main__":
    sys.exit(main())
