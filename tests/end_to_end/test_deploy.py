"""`boda deploy`, as a user types it."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import zipfile
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from bench.host import Boda, package
from botocore.exceptions import ClientError

from support import waiting
from support.commands import run_cli

eventually = partial(waiting.eventually, timeout_s=30)

HANDLER = "def lambda_handler(event, context):\n    return "


@pytest.fixture
def folder(tmp_path: Path, name: str) -> Path:
    made = tmp_path / name
    made.mkdir()
    return made


def wheel(folder: Path) -> str:
    """A package that pip installs without any index. Returns the file's name."""
    name = "tinypkg-1.0-py3-none-any.whl"
    with zipfile.ZipFile(folder / name, "w") as archive:
        archive.writestr("tinypkg/__init__.py", "VALUE = 42\n")
        info = "tinypkg-1.0.dist-info"
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tinypkg\nVersion: 1.0\n")
        archive.writestr(
            f"{info}/WHEEL",
            "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        archive.writestr(f"{info}/RECORD", "")
    return name


def deploy(boda: Boda, folder: Path, *words: str) -> dict[str, Any]:
    """What `boda deploy --json` says of a deployment that works."""
    done = run_cli(boda.folder, "deploy", str(folder), "--json", *words)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def invoke(boda: Boda, name: str, payload: str = "{}") -> Any:
    return json.loads(run_cli(boda.folder, "invoke", name, payload).stdout)


def test_requirements_come_along(
    boda: Boda, folder: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    (folder / "lambda_function.py").write_text(f"import tinypkg\n{HANDLER}tinypkg.VALUE\n")
    # A relative path is meant from the file's folder, wherever boda is called.
    (folder / "requirements.txt").write_text(f"./{wheel(folder)}\n")
    done = run_cli(boda.folder, "deploy", str(folder))
    assert done.returncode == 0, done.stderr
    assert "Installing requirements.txt for python3." in done.stderr
    assert f"boda invoke {name}" in done.stdout
    assert invoke(boda, name) == 42

    # Neither installed nor uploaded again.
    again = run_cli(boda.folder, "deploy", str(folder))
    assert "Using requirements.txt as installed before" in again.stderr
    assert "Uploading" not in again.stderr and "Unchanged: arn:" in again.stderr
    # What the package itself holds wins over what it requires.
    (folder / "tinypkg.py").write_text("VALUE = 7\n")
    (folder / "lambda_function.py").write_text(f"import tinypkg\n{HANDLER}[tinypkg.VALUE]\n")
    changed = run_cli(boda.folder, "deploy", str(folder))
    assert "as installed before" in changed.stderr and "Updated arn:" in changed.stderr
    assert invoke(boda, name) == [42]  # a package before a module of its name, as in Python
    anew = run_cli(boda.folder, "deploy", str(folder), "--no-cache")
    assert "Installing requirements.txt" in anew.stderr

    (folder / "requirements.txt").write_text("no-such-thing==1\n")
    failed = run_cli(boda.folder, "deploy", str(folder))
    assert failed.returncode == 1
    assert failed.stderr.splitlines()[-1].startswith(
        "boda: The requirements could not be installed: Could not find a version that satisfies"
    )


def test_a_projects_dependencies_come_along(
    boda: Boda, folder: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    (folder / "app.py").write_text(f"import tinypkg\n{HANDLER}tinypkg.VALUE\n")
    path = folder / wheel(folder)
    (folder / "pyproject.toml").write_text(
        f'[project]\nname = "x"\ndependencies = ["tinypkg @ file://{path}"]\n'
    )
    (folder / ".bodaignore").write_text("*.whl\n")
    deploy(boda, folder)
    assert invoke(boda, name) == 42


def test_nothing_is_uploaded_that_cannot_be_compiled(boda: Boda, folder: Path, name: str) -> None:
    (folder / "app.py").write_text("def handler(event, context):\n    return (1\n")
    done = run_cli(boda.folder, "deploy", str(folder))
    assert done.returncode == 1
    assert "app.py:2: SyntaxError: " in done.stderr and "Traceback" not in done.stderr
    assert "Uploading" not in done.stderr
    assert "ResourceNotFoundException" in run_cli(boda.folder, "invoke", name).stderr


def test_a_handler_that_is_not_there_is_refused(boda: Boda, folder: Path, name: str) -> None:
    (folder / "app.py").write_text("def handler(event, context):\n    return 1\n")
    done = run_cli(boda.folder, "deploy", str(folder), "--handler", "ap.handler")
    assert done.returncode == 1
    assert f"The handler ap.handler needs ap.py, which neither {folder} nor" in done.stderr
    assert "Uploading" not in done.stderr
    assert "ResourceNotFoundException" in run_cli(boda.folder, "invoke", name).stderr
    with pytest.raises(ClientError, match="NoSuchEntity"):
        boda.client("iam").get_role(RoleName=f"boda-{name}-us-east-1")


def test_what_is_deployed_is_compiled_and_without_secrets(
    boda: Boda, folder: Path, name: str
) -> None:
    (folder / ".env").write_text("PASSWORD=1")
    (folder / "node_modules" / "x").mkdir(parents=True)
    (folder / "node_modules" / "x" / "i.js").touch()
    (folder / "app.py").write_text(
        "import os, helper\ndef handler(event, context):\n"
        "    return [helper.__cached__, os.path.exists(helper.__cached__), os.listdir('.')]\n"
    )
    (folder / "helper.py").touch()
    deploy(boda, folder)
    cached, there, names = invoke(boda, name)
    assert there and cached.startswith("/var/task/__pycache__/helper.")
    assert sorted(names) == ["__pycache__", "app.py", "helper.py"]


def test_a_folder_with_a_bootstrap(boda: Boda, folder: Path, name: str) -> None:
    bootstrap = folder / "bootstrap"
    bootstrap.write_text("#!/bin/sh\nexit 3\n")
    refused = run_cli(boda.folder, "deploy", str(folder))
    assert refused.returncode == 1 and "chmod +x bootstrap" in refused.stderr
    bootstrap.chmod(0o755)
    made = deploy(boda, folder)
    assert (made["Runtime"], made["Handler"]) == ("provided.al2023", "bootstrap")
    failed = run_cli(boda.folder, "invoke", name)
    assert "exit status 3" in failed.stdout


def test_a_runtime_that_is_not_offered(boda: Boda, folder: Path) -> None:
    (folder / "app.py").write_text(f"{HANDLER}1\n")
    done = run_cli(boda.folder, "deploy", str(folder), "--runtime", "python3.8")
    assert done.returncode == 1
    assert "not offered here" in done.stderr and "install Python 3.8" in done.stderr


def test_each_function_has_a_role_of_its_own(boda: Boda, folder: Path, name: str) -> None:
    iam, s3 = boda.client("iam"), boda.client("s3")
    bucket = f"b-{name}"
    s3.create_bucket(Bucket=bucket)
    (folder / "app.py").write_text(
        "import boto3\ndef handler(event, context):\n"
        f"    return boto3.client('s3').list_objects_v2(Bucket='{bucket}')['KeyCount']\n"
    )
    made = deploy(boda, folder)
    assert made["Role"].endswith(f":role/boda-deploy/boda-{name}-us-east-1")
    assert "AccessDenied" in run_cli(boda.folder, "invoke", name).stdout

    policy = folder.parent / "may list.json"
    document = {
        "Version": "2012-10-17",
        "Statement": {
            "Effect": "Allow",
            "Action": "s3:ListBucket",
            "Resource": f"arn:aws:s3:::{bucket}",
        },
    }
    policy.write_text(json.dumps(document))
    readonly = "arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess"
    deploy(boda, folder, "--policy", str(policy))
    assert invoke(boda, name) == 0
    role = f"boda-{name}-us-east-1"
    assert iam.list_role_policies(RoleName=role)["PolicyNames"] == ["may-list"]
    deploy(boda, folder)  # names none: they stay
    assert iam.list_role_policies(RoleName=role)["PolicyNames"] == ["may-list"]
    deploy(boda, folder, "--policy", readonly)
    assert iam.list_role_policies(RoleName=role)["PolicyNames"] == []
    attached = iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"]
    assert {one["PolicyName"] for one in attached} == {
        "AmazonS3ReadOnlyAccess",
        "AWSLambdaBasicExecutionRole",
    }


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--policy", "/nowhere.json"), "there is no file /nowhere.json"),
        (("--policy", "arn:aws:s3:::bucket"), "not the ARN of a policy"),
        (("--policy", "{bad}"), "is not JSON"),
        (("--policy", "x", "--role", "arn:aws:iam::000000000000:role/r"), "leave out --role"),
        (("--on", "bucket"), "--on takes s3://BUCKET/PREFIX"),
        (("--on", "s3://b/*/*"), "--on takes s3://BUCKET/PREFIX"),
        (("--layer", "no-such-layer"), "There is no layer no-such-layer in us-east-1"),
        (("--layer", "a:b"), "--layer takes"),
        (("--env", "NAME"), "--env takes NAME=VALUE"),
    ],
)
def test_options_that_lead_nowhere(
    boda: Boda, folder: Path, name: str, words: tuple[str, ...], says: str
) -> None:
    (folder / "app.py").write_text(f"{HANDLER}1\n")
    bad = folder.parent / "bad.json"
    bad.write_text("{bad}")
    words = tuple(str(bad) if word == "{bad}" else word for word in words)
    done = run_cli(boda.folder, "deploy", str(folder), *words)
    assert done.returncode == 1
    assert says in done.stderr and len(done.stderr.splitlines()) == 1
    assert "ResourceNotFoundException" in run_cli(boda.folder, "invoke", name).stderr


def test_layers_by_arn_and_by_name(boda: Boda, folder: Path, name: str) -> None:
    client = boda.client("lambda")
    for value in (1, 2):
        client.publish_layer_version(
            LayerName=name, Content={"ZipFile": package(f"V = {value}\n", "python/shared")}
        )
    arn = client.list_layer_versions(LayerName=name)["LayerVersions"][0]["LayerVersionArn"]
    (folder / "app.py").write_text(f"import shared\n{HANDLER}shared.V\n")
    deploy(boda, folder, "--layer", f"{name}:1")
    assert invoke(boda, name) == 1
    for word in (name, arn):
        deploy(boda, folder, "--layer", word)
        assert invoke(boda, name) == 2
    assert deploy(boda, folder, "--layer", name)["Changed"] is False


def get(boda: Boda, url: str) -> tuple[int, bytes]:
    """Names under localhost need not lead anywhere here."""
    connection = http.client.HTTPConnection("127.0.0.1", boda.port, timeout=30)
    with contextlib.closing(connection):
        connection.request("GET", "/", headers={"Host": urlsplit(url).netloc})
        answer = connection.getresponse()
        return answer.status, answer.read()


def test_a_url(boda: Boda, folder: Path) -> None:
    (folder / "app.py").write_text(f"{HANDLER}'here'\n")
    url = deploy(boda, folder, "--url")["FunctionUrl"]
    assert get(boda, url) == (200, b"here")
    done = run_cli(boda.folder, "deploy", str(folder), "--url-auth", "iam")
    assert f"Its URL:       {url}" in done.stdout
    assert get(boda, url)[0] == 403
    assert deploy(boda, folder, "--url")["FunctionUrl"] == url  # as it is
    assert get(boda, url)[0] == 403
    deploy(boda, folder, "--url-auth", "none")
    assert get(boda, url) == (200, b"here")


def test_objects_call_it_and_what_else_is_configured_stays(
    boda: Boda, folder: Path, name: str
) -> None:
    s3, bucket = boda.client("s3"), f"b-{name}"
    (folder / "app.py").write_text(
        "def handler(event, context):\n"
        "    if 'Records' in event: print('key', event['Records'][0]['s3']['object']['key'])\n"
    )
    other = boda.function(f"o-{name}", "def lambda_handler(e, c): ...\n")
    words = ("--on", f"s3://{bucket}/in/", "--on", f"s3://{bucket}/pictures/*.jpg")
    deploy(boda, folder, *words)
    configured = s3.get_bucket_notification_configuration(Bucket=bucket)
    entries = configured["LambdaFunctionConfigurations"]
    boda.client("lambda").add_permission(
        FunctionName=f"o-{name}",
        StatementId="s3",
        Action="lambda:InvokeFunction",
        Principal="s3.amazonaws.com",
    )
    theirs = {
        "Id": "theirs",
        "LambdaFunctionArn": other["FunctionArn"],
        "Events": ["s3:ObjectRemoved:*"],
    }
    s3.put_bucket_notification_configuration(
        Bucket=bucket,
        NotificationConfiguration={"LambdaFunctionConfigurations": [theirs, *entries]},
    )
    deploy(boda, folder, *words)  # once more: nothing is there twice
    configured = s3.get_bucket_notification_configuration(Bucket=bucket)
    ids = [one["Id"] for one in configured["LambdaFunctionConfigurations"]]
    assert len(ids) == 3 and "theirs" in ids
    for key in ("out/x", "pictures/x.png", "in/1", "pictures/2.jpg"):
        s3.put_object(Bucket=bucket, Key=key, Body=b"x")
    eventually(
        lambda: (
            {"key in/1", "key pictures/2.jpg"}
            <= set(run_cli(boda.folder, "logs", name).stdout.splitlines())
        )
    )
    text = run_cli(boda.folder, "logs", name).stdout
    assert "out/x" not in text and "x.png" not in text

    done = run_cli(boda.folder, "delete", name)
    assert done.returncode == 0, done.stderr
    configured = s3.get_bucket_notification_configuration(Bucket=bucket)
    assert [one["Id"] for one in configured["LambdaFunctionConfigurations"]] == ["theirs"]


def test_delete_leaves_nothing_of_what_deploy_made(boda: Boda, folder: Path, name: str) -> None:
    (folder / "app.py").write_text(f"{HANDLER}1\n")
    deploy(boda, folder, "--url", "--policy", "arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess")
    assert invoke(boda, name) == 1
    eventually(lambda: "REPORT" in run_cli(boda.folder, "logs", name).stdout)
    done = run_cli(boda.folder, "delete", name, "--logs", "--json")
    deleted = json.loads(done.stdout)["Deleted"]
    assert [one.split()[0] for one in deleted] == ["function", "role", "log"]
    with pytest.raises(ClientError, match="NoSuchEntity"):
        boda.client("iam").get_role(RoleName=f"boda-{name}-us-east-1")
    groups = boda.client("logs").describe_log_groups(logGroupNamePrefix=f"/aws/lambda/{name}")
    assert groups["logGroups"] == []
    again = run_cli(boda.folder, "delete", name)
    assert again.returncode == 1 and "There is no function" in again.stderr


def test_delete_leaves_roles_that_deploy_did_not_make(boda: Boda, folder: Path, name: str) -> None:
    (folder / "app.py").write_text(f"{HANDLER}1\n")
    arn = boda.role(f"boda-{name}-us-east-1")
    refused = run_cli(boda.folder, "deploy", str(folder))
    assert refused.returncode == 1 and "did not make" in refused.stderr
    deploy(boda, folder, "--role", arn)
    assert run_cli(boda.folder, "delete", name).returncode == 0
    assert boda.client("iam").get_role(RoleName=f"boda-{name}-us-east-1")


def test_an_update_leaves_alone_what_it_does_not_name(boda: Boda, folder: Path, name: str) -> None:
    (folder / "app.py").write_text(f"{HANDLER}1\n")
    words = ("--memory", "256", "--timeout", "7", "--env", "WHO=rider")
    offered = json.loads(run_cli(boda.folder, "runtimes", "--json").stdout)
    oldest = next(one["Name"] for one in offered if one["Name"].startswith("python3."))
    assert run_cli(boda.folder, "deploy", str(folder), "--runtime", oldest, *words).returncode == 0
    done = run_cli(boda.folder, "deploy", str(folder), "--memory", "192")
    assert done.returncode == 0, done.stderr
    assert "Updated arn:aws:lambda:" in done.stderr
    found = boda.client("lambda").get_function_configuration(FunctionName=name)
    assert found["MemorySize"] == 192
    assert found["Timeout"] == 7
    assert found["Runtime"] == oldest
    assert found["Handler"] == "app.lambda_handler"
    assert found["Environment"] == {"Variables": {"WHO": "rider"}}


def test_a_package_too_large_for_a_call_goes_by_way_of_a_bucket(
    boda: Boda, folder: Path, name: str
) -> None:
    (folder / "lambda_function.py").write_text(
        "import os\n" + HANDLER + "os.path.getsize('/var/task/ünï code.bin')\n"
    )
    size = 51 << 20
    (folder / "ünï code.bin").write_bytes(os.urandom(size))
    done = run_cli(boda.folder, "deploy", str(folder))
    assert done.returncode == 0, done.stderr
    assert json.loads(run_cli(boda.folder, "invoke", name).stdout) == size
    assert "Contents" not in boda.client("s3").list_objects_v2(Bucket="boda-deploy-us-east-1")

    (folder / "zeros").touch()
    os.truncate(folder / "zeros", 262_144_000)
    refused = run_cli(boda.folder, "deploy", str(folder))
    assert refused.returncode == 1
    assert "Lambda takes 262 MB at most." in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_large_package_of_somebody_who_may_not_use_s3(
    boda: Boda, folder: Path, name: str
) -> None:
    iam = boda.client("iam")
    iam.create_user(UserName=name)
    allowed = {"Effect": "Allow", "Action": ["lambda:*", "boda:*", "iam:PassRole"], "Resource": "*"}
    document = {"Version": "2012-10-17", "Statement": [allowed]}
    iam.put_user_policy(UserName=name, PolicyName="p", PolicyDocument=json.dumps(document))
    key = iam.create_access_key(UserName=name)["AccessKey"]
    (folder / "app.py").write_text(f"{HANDLER}1\n")
    (folder / "large").write_bytes(os.urandom(5 << 20))
    done = run_cli(
        boda.folder,
        *("deploy", str(folder), "--role", boda.role()),
        AWS_ENDPOINT_URL=boda.url,
        AWS_ACCESS_KEY_ID=key["AccessKeyId"],
        AWS_SECRET_ACCESS_KEY=key["SecretAccessKey"],
    )
    assert done.returncode == 0, done.stderr
    assert invoke(boda, name) == 1


@pytest.mark.parametrize("folder_name", ["my func", "ünï", "x" * 65])
def test_a_folder_whose_name_is_no_functions_name(
    boda: Boda, tmp_path: Path, folder_name: str
) -> None:
    folder = tmp_path / folder_name
    folder.mkdir()
    (folder / "lambda_function.py").write_text(f"{HANDLER}1\n")
    refused = run_cli(boda.folder, "deploy", str(folder))
    assert refused.returncode == 1
    assert "Choose one with --name." in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
