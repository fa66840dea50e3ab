"""boto3 as functions find it: imported, used once, and its models read already.

Every botocore session reads its models for itself: it lists the folders of four hundred services
and unpacks and parses some megabytes of JSON, which is two thirds of what a first client costs.
The files are the runtime's own and never change under a zygote, so sessions in its forks begin
with what one session has read here. A session that is given other places to look in looks there.
"""

from typing import Any

SERVICES = ("s3", "dynamodb", "sqs", "sns", "lambda")
"""Those whose models are kept: what most functions begin with. Each takes a few MB, shared."""


def load():
    """Do nothing where the runtime has no boto3."""
    try:
        import boto3
        import botocore.session
    except ImportError:
        return
    # A throw-away session: no default session, no credentials, no connection stay behind.
    inner = botocore.session.Session()
    session = boto3.Session(
        aws_access_key_id="preload",
        aws_secret_access_key="preload",
        region_name="us-east-1",
        botocore_session=inner,
    )
    for service in SERVICES:
        session.client(service, endpoint_url="http://127.0.0.1:4566")
    _share(botocore, inner.get_component("data_loader"))


def _share(botocore, read):
    """Let later sessions begin with what this loader has read."""
    known = dict(read._cache)
    usual = frozenset(read.search_paths)
    create_loader = botocore.session.create_loader
    loader: Any = type(read)

    class PreloadedLoader(loader):
        def __init__(self):
            super().__init__()
            self._cache = dict(known)

        def list_available_services(self, type_name):
            if not usual.issuperset(self.search_paths):
                # Somebody has models of their own.
                self._cache.pop(("list_available_services", type_name), None)
            return super().list_available_services(type_name)

    def preloaded_loader(search_path_string=None):
        if search_path_string is not None:
            return create_loader(search_path_string)
        return PreloadedLoader()

    botocore.session.create_loader = preloaded_loader
