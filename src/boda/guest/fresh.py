"""The bootstrap in an interpreter of its own, when the environment asks for what only a fresh
one can have (``LD_PRELOAD``, ``PYTHONHASHSEED``, ``AWS_LAMBDA_EXEC_WRAPPER`` …).

``fresh.py CHANNEL LOG PATHS [IMAGE GIVEN]`` with the search path of the function as a
colon-separated list; of a template IMAGE is where its image is written, GIVEN a file with the
variables that the platform gave it, which a wrapper may have changed.
"""

import importlib
import os
import sys


def main():
    channel, log, paths = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3].split(":")
    more = [int(each) for each in sys.argv[4:]]
    for fd in (channel, log, *more):
        os.set_inheritable(fd, False)
    here = os.path.dirname(os.path.abspath(__file__))
    # The directory of this file and what PYTHONPATH added give way to the function's own order.
    standard = [
        path for path in sys.path if path and path.startswith((sys.prefix, sys.exec_prefix))
    ]
    sys.path[:] = [os.path.dirname(here), *standard]
    bootstrap = importlib.import_module(os.path.basename(here) + ".bootstrap")
    sys.path[:] = paths + standard
    if more:
        import json  # the bootstrap has it already

        with os.fdopen(more[1], "rb") as file:
            more[1] = json.loads(file.read())
    bootstrap.main(channel, log, dict(os.environ), *more)


if __name__ == "__main__":
    main()
