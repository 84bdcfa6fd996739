"""python -m tenon: the tenon command, which the package carries along."""

import os
import sys


def main() -> None:
    from . import _libraries

    _libraries.find()
    command = os.path.join(os.path.dirname(os.path.abspath(__file__)), "tenon")
    os.execv(command, ["tenon", *sys.argv[1:]])


if __name__ == "__main__":
    main()
