"""The beginning of the demonstration, where other things run on the machine already."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess

from bench.peers import ROOT


def test_the_demonstration_takes_another_port_where_its_own_is_taken() -> None:
    with contextlib.ExitStack() as stack:
        holder = stack.enter_context(socket.socket())
        with contextlib.suppress(OSError):  # then somebody else holds it, which is as good
            holder.bind(("127.0.0.1", 4566))  # and does not listen: nobody could find it by asking
        demo = subprocess.Popen(
            ["bash", str(ROOT / "examples" / "demo.sh")],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=os.environ | {"BODA_ISOLATION": os.environ.get("BODA_ISOLATION", "full")},
        )
        assert demo.stdout is not None
        stack.callback(demo.stdout.close)
        stack.callback(demo.wait)
        stack.callback(demo.terminate)
        told = ""
        for line in demo.stdout:
            told += line
            if ready := re.match(r"boda is ready at http://127\.0\.0\.1:(\d+)", line):
                assert ready[1] != "4566"
                return
        raise AssertionError(told)
