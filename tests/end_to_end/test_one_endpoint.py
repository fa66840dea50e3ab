"""The same URL inside functions and outside: links signed inside work where they are sent to."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from bench.host import Boda

from support.commands import run_cli

SIGNING = """
import os
import boto3
from botocore.config import Config

def lambda_handler(event, context):
    s3 = boto3.client("s3")
    s3.put_object(Bucket="kept", Key="from inside", Body=b"seen outside")
    where = {"Bucket": "kept", "Key": "from inside"}
    links = {
        kind: boto3.client("s3", config=Config(signature_version=kind)).generate_presigned_url(
            "get_object", Params=where
        )
        for kind in ("s3", "s3v4")
    }
    return {"endpoint": os.environ["AWS_ENDPOINT_URL"], "links": links}
"""
ANSWERING = """
def lambda_handler(event, context):
    return {"path": event["rawPath"], "query": event["rawQueryString"]}
"""


def _invoke(boda: Boda, name: str) -> Any:
    answer = boda.client("lambda").invoke(FunctionName=name, Payload=b"{}")
    payload = json.loads(answer["Payload"].read())
    assert "FunctionError" not in answer, payload
    return payload


def _read(url: str, host: str = "", port: int = 0) -> bytes:
    """host, port: where the URL's name leads, as another machine's resolver would say."""
    request = urllib.request.Request(url)
    if host:
        netloc = urlsplit(url).netloc
        request = urllib.request.Request(
            url.replace(netloc, f"{host}:{port}", 1), headers={"Host": netloc}
        )
    with urllib.request.urlopen(request, timeout=20) as answer:
        return bytes(answer.read())


def _check_links(boda: Boda, endpoint: str, host: str = "") -> None:
    boda.client("s3").create_bucket(Bucket="kept")
    boda.function("signing", SIGNING)
    found = _invoke(boda, "signing")
    assert found["endpoint"] == endpoint
    for link in found["links"].values():
        assert link.startswith(f"{endpoint}/kept/")
        assert _read(link, host, boda.port) == b"seen outside"


def test_the_platforms_own_port(boda: Boda) -> None:
    _check_links(boda, boda.url)


def test_a_name(tmp_path: Path) -> None:
    port = _free_port()
    public = f"http://boda.example:{port}"
    with Boda(tmp_path / "data", "--public-url", public) as boda:
        _check_links(boda, public, "127.0.0.1")
        told = json.loads(run_cli(boda.folder, "env", "--json").stdout)
        assert told["AWS_ENDPOINT_URL"] == public
        boda.function("answering", ANSWERING)
        boda.open_url("answering")
        config = boda.client("lambda").get_function_url_config(FunctionName="answering")
        url = config["FunctionUrl"]
        assert url.endswith(f".lambda-url.us-east-1.boda.example:{port}/")
        assert json.loads(_read(f"{url}a/b?c=d", "127.0.0.1", boda.port)) == {
            "path": "/a/b", "query": "c=d",
        }  # fmt: skip


@pytest.mark.skipif(os.geteuid() != 0, reason="an address is given to the loopback device")
def test_an_address(tmp_path: Path) -> None:
    """Of the range for documentation: it is this platform's inside, and nobody's outside."""
    public = "http://192.0.2.7:8081"
    with Boda(tmp_path / "data", "--public-url", public) as boda:
        _check_links(boda, public, "127.0.0.1")
        boda.function("answering", ANSWERING)
        boda.open_url("answering")
        config = boda.client("lambda").get_function_url_config(FunctionName="answering")
        url = config["FunctionUrl"]
        assert url.startswith(f"{public}/_url/")
        assert json.loads(_read(f"{url}a", "127.0.0.1", boda.port))["path"] == "/a"
        assert json.loads(_read(url.rstrip("/"), "127.0.0.1", boda.port))["path"] == "/"


def test_the_path_form_of_a_function_url(boda: Boda, name: str) -> None:
    boda.function(name, ANSWERING)
    host = boda.open_url(name)
    path = f"{boda.url}/_url/{host.partition('.')[0]}"
    for _ in range(3):  # the later ones on the fast path
        assert json.loads(_read(f"{path}/x%2Fy?z")) == {"path": "/x%2Fy", "query": "z"}
    request = urllib.request.Request(f"{boda.url}/_url/{'a' * 32}/")
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(request, timeout=20)


def test_a_key_that_looks_like_the_path_form(boda: Boda) -> None:
    """Under its bucket's host name it is a key, whoever has a function URL."""
    s3 = boda.client("s3")
    s3.create_bucket(Bucket="keys")
    where = {"Bucket": "keys", "Key": f"_url/{'a' * 32}/k"}
    s3.put_object(**where, Body=b"kept")
    link = s3.generate_presigned_url("get_object", Params=where)
    assert "AWSAccessKeyId=" in link, "a host name that is signed cannot be exchanged"
    url = link.replace(f"{boda.url}/keys/", f"http://keys.s3.localhost:{boda.port}/")
    assert _read(url, "127.0.0.1", boda.port) == b"kept"


@pytest.mark.parametrize("url", ["boda.example", "http://a/path", "ftp://a"])
def test_a_wrong_public_url_is_refused(tmp_path: Path, url: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "boda", "up", "--data-dir", str(tmp_path), "--public-url", url],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode != 0
    assert "Traceback" not in done.stderr and "--public-url" in done.stderr


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
