"""What unmodified clients do all day: the CLI's high-level S3 commands, boto3's transfers, users
with policies, public buckets and presigned URLs."""

from __future__ import annotations

import filecmp
import io
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import boto3
import pytest
from bench.host import Boda
from boto3.s3.transfer import TransferConfig
from botocore.exceptions import ClientError

_CLIS = {"v1": str(Path(sys.executable).parent / "aws"), "v2": "/usr/bin/aws"}


def code(call: Callable[..., Any], **params: Any) -> str:
    try:
        call(**params)
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    return "ok"


def fetch(url: str, method: str = "GET", data: bytes | None = None, **headers: str) -> int:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        request = urllib.request.Request(url, data, named, method=method)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def policy(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def allow(action: Any, resource: str = "*", **more: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": action, "Resource": resource} | more


# The command line


@pytest.fixture(params=sorted(_CLIS))
def aws(request: pytest.FixtureRequest, boda: Boda, tmp_path: Path) -> Callable[..., str]:
    program = _CLIS[request.param]
    if not shutil.which(program):
        pytest.skip(f"there is no {program}")
    key, secret = boda.keys
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "AWS_ACCESS_KEY_ID": key,
        "AWS_SECRET_ACCESS_KEY": secret,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_PAGER": "",
    }

    def run(*words: str, status: int = 0, stdin: str = "") -> str:
        done = subprocess.run(
            [program, "--endpoint-url", boda.url, *words],
            env=environment,
            capture_output=True,
            text=True,
            input=stdin,
            timeout=100,
            check=False,
        )
        failed = done.returncode != 0 if status < 0 else done.returncode == status
        assert failed, done.stdout + done.stderr
        return done.stdout + done.stderr

    return run


def test_the_clis_files(aws: Callable[..., str], name: str, tmp_path: Path) -> None:
    bucket, files, back = f"s3://{name}", tmp_path / "files", tmp_path / "back"
    (files / "a" / "b").mkdir(parents=True)
    (files / "a" / "one").write_text("one")
    (files / "a" / "b" / "ü x&y+z.txt").write_text("two")
    (files / "empty").touch()
    (files / "big").write_bytes(os.urandom(20 << 20))
    for each in files.rglob("*"):
        os.utime(each, (1e9, 1e9))  # S3 tells whole seconds, and `sync` sends what looks newer

    aws("s3", "mb", bucket)
    assert aws("s3", "sync", str(files), f"{bucket}/x").count("upload:") == 4
    assert "upload:" not in aws("s3", "sync", str(files), f"{bucket}/x")
    aws("s3", "sync", f"{bucket}/x", str(back))
    compared = filecmp.dircmp(files, back)
    assert not (compared.left_only or compared.right_only or compared.diff_files)
    assert (back / "a" / "b" / "ü x&y+z.txt").read_text() == "two"

    aws("s3", "cp", "--recursive", f"{bucket}/x", f"{bucket}/y", "--only-show-errors")
    aws("s3", "mv", f"{bucket}/y/big", f"{bucket}/z/big", "--only-show-errors")
    listed = aws("s3", "ls", bucket, "--recursive")
    assert " x/big\n" in listed and " z/big\n" in listed and " y/big\n" not in listed
    aws("s3", "cp", "-", f"{bucket}/typed", stdin="from a pipe")
    assert aws("s3", "cp", f"{bucket}/typed", "-") == "from a pipe"

    url = aws("s3", "presign", f"{bucket}/x/a/one", "--expires-in", "60").strip()
    with urllib.request.urlopen(url) as answer:
        assert answer.read() == b"one"
    assert fetch(url.replace("/a/one", "/big")) == 403

    aws("s3", "rm", "--recursive", f"{bucket}/y", "--only-show-errors")
    assert "BucketNotEmpty" in aws("s3", "rb", bucket, status=1)
    assert "404" in aws("s3", "cp", f"{bucket}/nothing", "-", status=1)
    aws("s3", "rb", "--force", bucket)
    assert "NoSuchBucket" in aws("s3", "ls", bucket, status=-1)


def test_the_cli_names_what_is_missing(aws: Callable[..., str]) -> None:
    for words, named in (
        (("dynamodb", "list-tables"), "dynamodb:ListTables"),
        (("sqs", "list-queues"), "sqs:ListQueues"),
        (("ec2", "describe-instances"), "ec2:DescribeInstances"),
        (("route53", "list-hosted-zones"), "route53:ListHostedZones"),
    ):
        said = aws(*words, status=-1)
        assert "NotImplemented" in said and named in said


# Objects


def test_a_hundred_megabytes_in_parts(boda: Boda, name: str) -> None:
    key, secret = boda.keys
    client = boto3.client(
        "s3",
        region_name="us-east-1",
        endpoint_url=boda.url,
        aws_access_key_id=key,
        aws_secret_access_key=secret,
    )
    client.create_bucket(Bucket=name)
    data = os.urandom(1 << 20) * 100
    parts = TransferConfig(multipart_chunksize=8 << 20)
    client.upload_fileobj(io.BytesIO(data), name, "big", Config=parts)
    assert client.head_object(Bucket=name, Key="big")["ETag"].endswith('-13"')
    got = io.BytesIO()
    client.download_fileobj(name, "big", got, Config=parts)
    assert got.getvalue() == data
    middle = client.get_object(Bucket=name, Key="big", Range="bytes=8388600-8388620")
    assert middle["Body"].read() == data[8388600:8388621]
    assert client.get_object(Bucket=name, Key="big", PartNumber=13)["ContentLength"] == 4 << 20
    client.delete_object(Bucket=name, Key="big")


def test_three_thousand_keys(boda: Boda, name: str) -> None:
    client = boda.client("s3", max_pool_connections=8)
    client.create_bucket(Bucket=name)
    keys = [f"d{number % 7}/é{number:04}" for number in range(3000)]
    with ThreadPoolExecutor(8) as workers:
        list(workers.map(lambda key: client.put_object(Bucket=name, Key=key), keys))

    def pages(**params: Any) -> list[Any]:
        return list(client.get_paginator("list_objects_v2").paginate(Bucket=name, **params))

    everything = pages()
    assert [len(page["Contents"]) for page in everything] == [1000, 1000, 1000]
    assert [one["Key"] for page in everything for one in page["Contents"]] == sorted(keys)
    folders = pages(Delimiter="/", PaginationConfig={"PageSize": 2})
    named = [one["Prefix"] for page in folders for one in page.get("CommonPrefixes", ())]
    assert named == [f"d{number}/" for number in range(7)] and len(folders) == 4
    for begin in range(0, 3000, 1000):
        wanted = [{"Key": key} for key in keys[begin : begin + 1000]]
        client.delete_objects(Bucket=name, Delete={"Objects": wanted, "Quiet": True})
    client.delete_bucket(Bucket=name)


def test_a_bucket_in_the_host_name(boda: Boda, name: str) -> None:
    client = boda.client("s3")
    client.create_bucket(Bucket=name)
    client.delete_public_access_block(Bucket=name)
    client.put_object(Bucket=name, Key="folder/k", Body=b"data")
    public = allow("s3:GetObject", f"arn:aws:s3:::{name}/*", Principal="*")
    client.put_bucket_policy(Bucket=name, Policy=policy(public))
    for host in ("s3.localhost", "s3.us-east-1.localhost", "s3.amazonaws.com"):
        request = urllib.request.Request(
            f"{boda.url}/folder/k", headers={"Host": f"{name}.{host}:{boda.port}"}
        )
        with urllib.request.urlopen(request) as answer:
            assert answer.read() == b"data"


# Permissions


def test_policies_hold_and_change_at_once(boda: Boda, name: str) -> None:
    root, iam = boda.client("s3"), boda.client("iam")
    root.create_bucket(Bucket=name)
    for key in ("pub/a", "priv/b", f"home/{name}/c"):
        root.put_object(Bucket=name, Key=key, Body=b"data")
    iam.create_user(UserName=name)
    keys = iam.create_access_key(UserName=name)["AccessKey"]
    mine = {"key": keys["AccessKeyId"], "secret": keys["SecretAccessKey"]}
    s3 = boda.client("s3", **mine)
    place = f"arn:aws:s3:::{name}"

    def may(*statements: dict[str, Any]) -> None:
        iam.put_user_policy(UserName=name, PolicyName="p", PolicyDocument=policy(*statements))

    def get(key: str) -> str:
        return code(s3.get_object, Bucket=name, Key=key)

    def when(**condition: dict[str, Any]) -> dict[str, Any]:
        return allow("s3:*", Condition=condition)

    assert get("pub/a") == "AccessDenied"
    may(allow("s3:Get*", f"{place}/pub/*"))
    assert (get("pub/a"), get("priv/b")) == ("ok", "AccessDenied")
    may(allow("s3:*"), allow("s3:GetObject", f"{place}/priv/*") | {"Effect": "Deny"})
    assert (get("pub/a"), get("priv/b")) == ("ok", "AccessDenied")
    may(allow("s3:GetObject", f"{place}/home/${{aws:username}}/*"))
    assert (get(f"home/{name}/c"), get("pub/a")) == ("ok", "AccessDenied")
    may(allow("s3:ListBucket", place, Condition={"StringLike": {"s3:prefix": ["pub/*"]}}))
    for prefix, expected in (("pub/", "ok"), ("priv/", "AccessDenied"), ("", "AccessDenied")):
        assert code(s3.list_objects_v2, Bucket=name, Prefix=prefix) == expected
    for condition, expected in (
        (when(IpAddress={"aws:SourceIp": "127.0.0.0/8"}), "ok"),
        (when(IpAddress={"aws:SourceIp": "10.0.0.0/8"}), "AccessDenied"),
        (when(Bool={"aws:SecureTransport": "true"}), "AccessDenied"),
        (when(DateLessThan={"aws:CurrentTime": "2020-01-01T00:00:00Z"}), "AccessDenied"),
        (when(StringEquals={"aws:RequestedRegion": "us-east-1"}), "ok"),
    ):
        may(condition)
        assert get("pub/a") == expected, condition
    may({"Effect": "Allow", "NotAction": "s3:Delete*", "Resource": "*"})
    assert get("pub/a") == "ok"
    assert code(s3.delete_object, Bucket=name, Key="pub/a") == "AccessDenied"
    iam.delete_user_policy(UserName=name, PolicyName="p")
    assert get("pub/a") == "AccessDenied"

    may(allow("s3:*"))
    assert get("pub/a") == "ok"
    iam.update_access_key(UserName=name, AccessKeyId=mine["key"], Status="Inactive")
    assert get("pub/a") == "InvalidAccessKeyId"
    iam.update_access_key(UserName=name, AccessKeyId=mine["key"], Status="Active")
    assert get("pub/a") == "ok"
    iam.delete_access_key(UserName=name, AccessKeyId=mine["key"])
    assert get("pub/a") == "InvalidAccessKeyId"


def test_sessions_of_a_role(boda: Boda, name: str) -> None:
    root, iam = boda.client("s3"), boda.client("iam")
    root.create_bucket(Bucket=name)
    root.put_object(Bucket=name, Key="k", Body=b"data")
    arn = iam.create_user(UserName=name)["User"]["Arn"]
    keys = iam.create_access_key(UserName=name)["AccessKey"]
    trust = policy({"Effect": "Allow", "Principal": {"AWS": arn}, "Action": "sts:AssumeRole"})
    role = iam.create_role(RoleName=name, AssumeRolePolicyDocument=trust)["Role"]["Arn"]
    iam.put_role_policy(RoleName=name, PolicyName="p", PolicyDocument=policy(allow("s3:GetObject")))
    sts = boda.client("sts", key=keys["AccessKeyId"], secret=keys["SecretAccessKey"])
    lent = sts.assume_role(RoleArn=role, RoleSessionName="session")["Credentials"]

    def get(**changes: Any) -> str:
        mine = {
            "key": lent["AccessKeyId"],
            "secret": lent["SecretAccessKey"],
            "token": lent["SessionToken"],
        } | changes
        return code(boda.client("s3", **mine).get_object, Bucket=name, Key="k")

    assert get() == "ok"
    assert get(token=None) == "InvalidAccessKeyId"
    assert get(token=lent["SessionToken"][:-4] + "AAAA") == "InvalidToken"
    assert get(secret="another") == "SignatureDoesNotMatch"
    other = iam.create_role(
        RoleName=f"{name}-other",
        AssumeRolePolicyDocument=policy(
            {
                "Effect": "Allow",
                "Principal": {"Service": "lambda.amazonaws.com"},
                "Action": "sts:AssumeRole",
            }
        ),
    )["Role"]["Arn"]
    assert code(sts.assume_role, RoleArn=other, RoleSessionName="session") == "AccessDenied"
    iam.delete_role_policy(RoleName=name, PolicyName="p")
    assert get() == "AccessDenied"
    iam.delete_role(RoleName=name)
    assert get() != "ok"


def test_public_buckets_and_presigned_urls(boda: Boda, name: str) -> None:
    client = boda.client("s3")
    client.create_bucket(Bucket=name)
    for key in ("pub/a", "priv/b"):
        client.put_object(Bucket=name, Key=key, Body=b"data")
    url = f"{boda.url}/{name}"
    assert fetch(f"{url}/pub/a") == 403
    public = allow("s3:GetObject", f"arn:aws:s3:::{name}/pub/*", Principal="*")
    assert code(client.put_bucket_policy, Bucket=name, Policy=policy(public)) == "AccessDenied"
    client.delete_public_access_block(Bucket=name)
    client.put_bucket_policy(Bucket=name, Policy=policy(public))
    assert (fetch(f"{url}/pub/a"), fetch(f"{url}/priv/b"), fetch(url)) == (200, 403, 403)
    assert fetch(f"{url}/pub/a", "PUT", b"x") == 403
    client.delete_bucket_policy(Bucket=name)
    assert fetch(f"{url}/pub/a") == 403

    for version in ("s3v4", "s3"):
        signer = boda.client("s3", signature_version=version)

        def make(operation: str, seconds: int = 60, **params: Any) -> str:
            made: str = signer.generate_presigned_url(  # noqa: B023
                operation, Params={"Bucket": name} | params, ExpiresIn=seconds
            )
            return made

        get = make("get_object", Key="priv/b")
        assert fetch(get) == 200
        assert fetch(get.replace("priv/b", "pub/a")) == 403
        assert fetch(get, "PUT", b"x", Content_Type="") == 403
        assert fetch(get + "&versionId=null") == 403
        put = make("put_object", Key="ü p", ContentType="text/plain")
        assert fetch(put, "PUT", b"hello", Content_Type="text/plain") == 200
        assert fetch(put, "PUT", b"hello", Content_Type="text/html") == 403
        assert client.get_object(Bucket=name, Key="ü p")["ContentType"] == "text/plain"
        brief = make("get_object", 1, Key="priv/b")
        time.sleep(2.1)
        assert fetch(brief) == 403


def test_open_mode_takes_any_key(tmp_path: Path) -> None:
    with Boda(tmp_path / "data", "--auth", "open") as boda:
        for key, secret in (("any", "thing"), ("AKIA" + "X" * 16, "s")):
            client = boda.client("s3", key=key, secret=secret)
            assert code(client.list_buckets) == "ok"
            assert boda.client("sts", key=key, secret=secret).get_caller_identity()["Arn"] == (
                "arn:aws:iam::000000000000:root"
            )
        boda.client("s3").create_bucket(Bucket="bucket")
        assert fetch(f"{boda.url}/bucket/k", "PUT", b"unsigned") == 200
        assert fetch(f"{boda.url}/bucket/k") == 200
        assert "WARNING: --auth open" in boda.log.read_text()
