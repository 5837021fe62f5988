"""`python -m tests.chaos`, see tests/chaos/commands.py."""

import os

from glue.children import PARENT, end_with_parent

if __name__ == "__main__":
    if PARENT in os.environ:
        end_with_parent()
    from tests.chaos.commands import main

    main(prog_name="python -m tests.chaos")
