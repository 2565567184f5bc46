"""`python -m ra3_lab ...` is `ra3-lab ...`, for machines where the script is not on the path."""

import sys

from ra3_lab.cli import main

if __name__ == "__main__":
    sys.exit(main())
