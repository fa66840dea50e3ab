"""Where tools look for the bootstrap: ``sys.modules["__main__"].awslambdaricmain.bootstrap``."""

import sys

from . import bootstrap

__all__ = ["bootstrap"]

if __name__ == "__main__":
    sys.exit("awslambdaric: the platform starts the runtime by itself; there is nothing to run.")
