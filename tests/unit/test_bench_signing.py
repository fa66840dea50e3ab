"""The load generator's own signer signs as botocore does."""

from __future__ import annotations

import datetime

import botocore.auth
import pytest
from bench.signing import Signer, signed

AT = 1_790_000_000.0
URL = "http://127.0.0.1:4566/2015-03-31/functions/Hello/invocations"


def test_signatures_are_botocores(monkeypatch: pytest.MonkeyPatch) -> None:
    frozen = datetime.datetime.fromtimestamp(AT, datetime.UTC).replace(tzinfo=None)
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda: frozen)
    bodies = [b'{"name": "rider 1"}', b"", b"\x00\xff" * 999]
    ours = Signer(URL, "AKIDEXAMPLE", "secret").requests(bodies, AT)
    theirs = [
        signed(URL, "POST", body, service="lambda", key="AKIDEXAMPLE", secret="secret")
        for body in bodies
    ]
    for mine, reference, body in zip(ours, theirs, bodies, strict=True):
        assert _headers(mine) == _headers(reference)
        assert mine.partition(b"\r\n\r\n")[2] == body
    assert len({_headers(one)["authorization"] for one in ours}) == len(bodies)


def _headers(request: bytes) -> dict[str, str]:
    lines = request.partition(b"\r\n\r\n")[0].decode().split("\r\n")[1:]
    return {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
