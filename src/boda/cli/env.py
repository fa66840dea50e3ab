"""``boda env``: the exports that point AWS clients at boda."""

from __future__ import annotations

import os
import shlex

from boda.cli.options import DataDir, Json, Region, data_dir

EXAMPLES = (
    'eval "$(boda env)"                      points this shell at boda',
    'eval "$(boda env --region eu-west-1)"   in another region',
    "boda env --json                         the same for programs",
)


def env(region: Region = None, folder: DataDir = None, as_json: Json = False) -> None:
    """Print shell exports for the root user.

    They set the endpoint, the keys and the region that the AWS CLI and every SDK read.
    """
    from boda.cli.client import check_endpoint, chosen_region
    from boda.cli.output import print_json
    from boda.core.errors import PlatformError
    from boda.core.regions import Regions
    from boda.storage.folder import DataFolder

    place = DataFolder(data_dir(folder))
    keys = place.root_keys()
    address = place.address()
    regions = Regions(address.regions if address is not None else ())
    chosen = chosen_region(region)
    if chosen not in regions:
        raise PlatformError(regions.refusal(chosen))
    endpoint = place.endpoint() if address is None else address.public
    check_endpoint(endpoint, "The address from BODA_HOST and BODA_PORT")
    values = {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": keys.access_key_id,
        "AWS_SECRET_ACCESS_KEY": keys.secret,
        # The AWS CLI reads one of them, most SDKs the other.
        "AWS_DEFAULT_REGION": chosen,
        "AWS_REGION": chosen,
    }
    if as_json:
        print_json(values)
        return
    for name, value in values.items():
        print(f"export {name}={shlex.quote(value)}")
    if "AWS_SESSION_TOKEN" in os.environ:  # belongs to other keys: with these it would be refused
        print("unset AWS_SESSION_TOKEN")
