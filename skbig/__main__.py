"""``python -m skbig`` is the command ``skbig``."""

import sys

from skbig.cli import main

if __name__ == "__main__":
    sys.exit(main())
