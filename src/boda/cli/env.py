"""``boda env``: the exports that point AWS clients at boda."""

from __future__ import annotations

import json
import shlex

from boda.cli.options import DataDir, Json, data_dir
from boda.core.arn import DEFAULT_REGION
from boda.storage.folder import Folder


def env(folder: DataDir = None, as_json: Json = False) -> None:
    """Print shell exports for the root user. Use it as: eval "$(boda env)"."""
    place = Folder(data_dir(folder))
    keys = place.root_keys()
    values = {
        "AWS_ENDPOINT_URL": place.endpoint(),
        "AWS_ACCESS_KEY_ID": keys.access_key_id,
        "AWS_SECRET_ACCESS_KEY": keys.secret,
        "AWS_DEFAULT_REGION": DEFAULT_REGION,
    }
    if as_json:
        print(json.dumps(values, indent=2))
        return
    for name, value in values.items():
        print(f"export {name}={shlex.quote(value)}")
