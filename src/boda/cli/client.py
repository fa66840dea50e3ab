"""How commands reach a running boda: as any AWS client would, with the root user's keys."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import botocore.config
import botocore.session

from boda.core.arn import DEFAULT_REGION
from boda.storage.folder import Folder


@dataclass(frozen=True, slots=True)
class Connection:
    """Where boda answers and with which keys to call it."""

    endpoint: str
    access_key_id: str
    secret: str
    session_token: str | None
    region: str

    def client(self, service: str, *, read_timeout: float = 960) -> Any:
        session = botocore.session.Session()
        session.get_component("data_loader").search_paths.append(str(MODELS))
        return session.create_client(
            service,
            region_name=self.region,
            endpoint_url=self.endpoint,
            aws_access_key_id=self.access_key_id,
            aws_secret_access_key=self.secret,
            aws_session_token=self.session_token,
            config=botocore.config.Config(
                read_timeout=read_timeout,
                connect_timeout=5,
                retries={"total_max_attempts": 1},
                s3={"addressing_style": "path"},
            ),
        )


MODELS = Path(__file__).resolve().parent.parent / "services" / "platform" / "model"


def connect(data_dir: Path) -> Connection:
    """The environment's endpoint and keys where all are set, else those of the data folder.

    Keys of the environment are used only together with an endpoint of the environment, so that
    nobody's AWS keys are sent to boda, nor boda's calls to AWS. Raises PlatformError.
    """
    environment = os.environ
    region = (
        environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION") or DEFAULT_REGION
    )
    endpoint = environment.get("AWS_ENDPOINT_URL")
    key, secret = environment.get("AWS_ACCESS_KEY_ID"), environment.get("AWS_SECRET_ACCESS_KEY")
    if endpoint and key and secret:
        return Connection(endpoint, key, secret, environment.get("AWS_SESSION_TOKEN"), region)
    folder = Folder(data_dir)
    root = folder.root_keys()
    return Connection(folder.endpoint(), root.access_key_id, root.secret, None, region)
