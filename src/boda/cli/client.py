"""How commands reach a running boda: as any AWS client would, with the root user's keys."""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

import botocore.config
import botocore.session

from boda.core.arn import DEFAULT_REGION
from boda.core.errors import PlatformError
from boda.storage.folder import DataFolder

MODELS = Path(__file__).resolve().parent.parent / "services" / "platform" / "model"


@dataclass(frozen=True, slots=True)
class ServiceAddress:
    """The endpoint of boda and the keys to call it with."""

    endpoint: str
    access_key_id: str
    secret: str
    session_token: str | None
    region: str
    session: Any = field(default_factory=lambda: _session(), repr=False)

    def client(self, service: str, *, read_timeout: float = 960) -> Any:
        return self.session.create_client(
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
                # A proxy from the environment cannot reach this machine's own addresses.
                proxies={} if _is_local(self.endpoint) else None,
            ),
        )


def connect(data_dir: Path, region: str | None = None) -> ServiceAddress:
    """Return the environment's endpoint and keys if all are set, else those of the data folder.

    Keys of the environment are used only together with an endpoint of the environment, so that AWS
    keys are never sent to boda, nor boda's calls to AWS. Raises PlatformError.
    """
    environment = os.environ
    region = chosen_region(region)
    endpoint = environment.get("AWS_ENDPOINT_URL")
    key, secret = environment.get("AWS_ACCESS_KEY_ID"), environment.get("AWS_SECRET_ACCESS_KEY")
    if endpoint and key and secret:
        check_endpoint(endpoint, "AWS_ENDPOINT_URL")
        return ServiceAddress(endpoint, key, secret, environment.get("AWS_SESSION_TOKEN"), region)
    folder = DataFolder(data_dir)
    root = folder.root_keys()
    endpoint = folder.endpoint()
    check_endpoint(endpoint, "The address from BODA_HOST and BODA_PORT")
    return ServiceAddress(endpoint, root.access_key_id, root.secret, None, region)


def chosen_region(region: str | None) -> str:
    """Return the region that was given, else the environment's, else the default."""
    environment = os.environ
    return (
        region
        or environment.get("AWS_REGION")
        or environment.get("AWS_DEFAULT_REGION")
        or DEFAULT_REGION
    )


def check_endpoint(endpoint: str, source: str) -> None:
    """Raises PlatformError unless it is an HTTP URL with a host and at most a port."""
    parts = _split(endpoint)
    if parts is None or parts.scheme not in ("http", "https") or not parts.hostname:
        bare = _split(f"http://{endpoint}") if "://" not in endpoint else None
        meant = f"; write http://{endpoint}" if bare is not None and bare.hostname else ""
        raise PlatformError(
            f"{source} is {endpoint!r}, which is not a URL like http://127.0.0.1:4566{meant}."
        )


def _split(url: str) -> SplitResult | None:
    """Split a URL. None if it is malformed, its port is invalid, or a blank is in it."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return None
    return None if any(letter.isspace() for letter in url) else parts


def _is_local(endpoint: str) -> bool:
    parts = _split(endpoint)
    host = (parts.hostname if parts is not None else None) or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _session() -> Any:
    """Return a botocore session that reads neither the environment nor ~/.aws.

    Their settings are meant for AWS; a missing profile or a malformed file must not keep commands
    from reaching boda. Only the environment's certificates are used.
    """
    known = botocore.session.Session.SESSION_VARIABLES
    variables = {
        name: (None, None, default, convert) for name, (_, _, default, convert) in known.items()
    }
    variables["ca_bundle"] = known["ca_bundle"]
    for name in ("config_file", "credentials_file"):
        variables[name] = (None, None, os.devnull, None)
    session = botocore.session.Session(variables)
    session.get_component("data_loader").search_paths.append(str(MODELS))
    return session
