"""A real `boda up` in a folder of its own, for a benchmark or a test of the whole."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any

import botocore.config
import botocore.session

from boda.services.platform import PLUG

TRUST = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"Service": "lambda.amazonaws.com"},
                "Action": "sts:AssumeRole",
            }
        ],
    }
)


class Boda:
    """Starts on enter, stops on exit; `kill` and `start` again for crash tests."""

    def __init__(self, folder: Path, *options: str, python: str = sys.executable) -> None:
        self.folder = folder
        self.options = options
        self.python = python
        self.process: subprocess.Popen[bytes] | None = None
        self.port = 0
        self._runtime = ""
        self.log = folder.parent / f"{folder.name}.log"

    def __enter__(self) -> Boda:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self, timeout_s: float = 60) -> float:
        """Seconds until ready."""
        begin = time.perf_counter()
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            position = log.tell()
            self.process = subprocess.Popen(
                [
                    *(self.python, "-m", "boda", "up", "--port", "0"),
                    *("--data-dir", str(self.folder), *self.options),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "BODA_"))}
                | {"BODA_ISOLATION": os.environ.get("BODA_ISOLATION", "full")},
            )
        while True:
            text = self.log.read_bytes()[position:].decode("utf-8", "replace")
            found = re.search(r"boda is ready at (http://\S+:(\d+))", text)
            if found:
                self.port = int(found[2])
                return time.perf_counter() - begin
            if self.process.poll() is not None or time.perf_counter() - begin > timeout_s:
                raise RuntimeError(f"boda did not start:\n{text}")
            time.sleep(0.005)

    def stop(self, timeout_s: float = 30) -> int:
        if self.process is None:
            return 0
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            status = self.process.wait()
        self.process = None
        return status

    def kill(self) -> None:
        """As a power cut would, for the process."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        self.process = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def keys(self) -> tuple[str, str]:
        data = json.loads((self.folder / "root.json").read_text())
        return data["access_key_id"], data["secret_access_key"]

    def client(self, service: str, **settings: Any) -> Any:
        key, secret = self.keys
        session = botocore.session.Session()
        session.get_component("data_loader").search_paths.append(str(PLUG.models))
        return session.create_client(
            service,
            region_name="us-east-1",
            endpoint_url=self.url,
            aws_access_key_id=settings.pop("key", key),
            aws_secret_access_key=settings.pop("secret", secret),
            aws_session_token=settings.pop("token", None),
            config=botocore.config.Config(
                retries={"total_max_attempts": 1},
                read_timeout=60,
                s3={"addressing_style": "path"},
                **settings,
            ),
        )

    def role(self, name: str = "bench") -> str:
        iam = self.client("iam")
        try:
            made = iam.create_role(RoleName=name, AssumeRolePolicyDocument=TRUST)
        except iam.exceptions.EntityAlreadyExistsException:
            made = iam.get_role(RoleName=name)
        iam.put_role_policy(
            RoleName=name,
            PolicyName="all",
            PolicyDocument=json.dumps(
                {
                    "Version": "2012-10-17",
                    "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}],
                }
            ),
        )
        return str(made["Role"]["Arn"])

    def function(
        self, name: str, source: str | bytes | dict[str, str], **settings: Any
    ) -> dict[str, Any]:
        """Make a function from one file's source, a package, or the place of one in S3, and wait
        until it is active."""
        client = self.client("lambda")
        content = package(source) if isinstance(source, str) else source
        made: dict[str, Any] = client.create_function(
            FunctionName=name,
            Runtime=settings.pop("Runtime", None) or self.runtime(),
            Role=settings.pop("Role", None) or self.role(),
            Handler=settings.pop("Handler", "lambda_function.lambda_handler"),
            Code=source if isinstance(source, dict) else {"ZipFile": content},
            **settings,
        )
        client.get_waiter("function_active_v2").wait(
            FunctionName=name, WaiterConfig={"Delay": 0, "MaxAttempts": 500}
        )
        return made

    def call(self, name: str, event: Any = None, **params: Any) -> Any:
        """What a function answers."""
        answer = self.client("lambda").invoke(
            FunctionName=name, Payload=json.dumps(event).encode(), **params
        )
        return json.loads(answer["Payload"].read())

    def open_url(self, name: str, mode: str = "BUFFERED") -> str:
        """Give a function a URL that asks for no signature. Returns its host name and port."""
        client = self.client("lambda")
        made = client.create_function_url_config(
            FunctionName=name, AuthType="NONE", InvokeMode=mode
        )
        client.add_permission(
            FunctionName=name,
            StatementId="url",
            Action="lambda:InvokeFunctionUrl",
            Principal="*",
            FunctionUrlAuthType="NONE",
        )
        client.add_permission(
            FunctionName=name,
            StatementId="url-invoke",
            Action="lambda:InvokeFunction",
            Principal="*",
            InvokedViaFunctionUrl=True,
        )
        return str(made["FunctionUrl"].split("/")[2])

    def runtime(self) -> str:
        """The runtime of the newest Python here; looked for once."""
        if self._runtime:
            return self._runtime
        answer = subprocess.run(
            [sys.executable, "-m", "boda", "runtimes", "--json"], capture_output=True, check=True
        )
        names = [one["Name"] for one in json.loads(answer.stdout)]
        pythons = [one for one in names if one.startswith("python3.")]
        self._runtime = max(pythons, key=lambda one: int(one.removeprefix("python3.")))
        return self._runtime


def package(source: str, module: str = "lambda_function") -> bytes:
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w", zipfile.ZIP_DEFLATED) as archive:
        entry = zipfile.ZipInfo(f"{module}.py")
        entry.external_attr = 0o644 << 16  # or the function could not read it
        archive.writestr(entry, source, zipfile.ZIP_DEFLATED)
    return memory.getvalue()


def scratch() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="boda-bench-")
