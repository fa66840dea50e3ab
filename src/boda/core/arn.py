"""Amazon Resource Names: parsed and built here and nowhere else."""

from __future__ import annotations

from dataclasses import dataclass

PARTITION = "aws"
DEFAULT_ACCOUNT = "000000000000"
DEFAULT_REGION = "us-east-1"

_BEGIN = "arn:"
_PARTS = 6


@dataclass(frozen=True, slots=True)
class Arn:
    """``arn:partition:service:region:account:resource``; the resource may itself have colons."""

    service: str
    region: str
    account: str
    resource: str
    partition: str = PARTITION

    @classmethod
    def parse(cls, text: str) -> Arn:
        """Parse a text. Raises ValueError if it is no ARN."""
        parts = components(text)
        if len(parts) != _PARTS or parts[0] != "arn" or not (parts[1] and parts[2] and parts[5]):
            raise ValueError(f"not an ARN: {text!r}")
        return cls(parts[2], parts[3], parts[4], parts[5], parts[1])

    @classmethod
    def cut(cls, text: str) -> Arn:
        """Cut a text that was validated as an ARN by a service's model.

        Some models accept an ARN without its partition.
        """
        _, partition, service, region, account, resource = components(text)
        return cls(service, region, account, resource, partition)

    @classmethod
    def read(cls, text: str) -> Arn | None:
        """Parse a text. Return None if it is no ARN."""
        try:
            return cls.parse(text)
        except ValueError:
            return None

    @property
    def words(self) -> list[str]:
        """Return the resource cut at its colons: ``function``, the name, the qualifier."""
        return self.resource.split(":")

    @property
    def name(self) -> str:
        """The resource behind its first word, for services that write kinds so: ``my-function``."""
        return self.resource.partition(":")[2]

    @property
    def path(self) -> tuple[str, str]:
        """The resource's kind and the rest, for services that cut at slashes: ``role``, ``a/b``."""
        kind, _, rest = self.resource.partition("/")
        return kind, rest

    def __str__(self) -> str:
        return f"arn:{self.partition}:{self.service}:{self.region}:{self.account}:{self.resource}"


def build(service: str, region: str, account: str, resource: str) -> str:
    """Return an ARN's text."""
    return f"arn:{PARTITION}:{service}:{region}:{account}:{resource}"


def is_arn(text: str) -> bool:
    """Return whether a text begins as every ARN and no name does."""
    return text.startswith(_BEGIN)


def components(text: str) -> list[str]:
    """Cut a text at its first five colons. Fewer than six parts are no ARN."""
    return text.split(":", _PARTS - 1)


def function_arn(account: str, region: str, name: str) -> str:
    """Return a function's ARN without qualifier."""
    return f"arn:{PARTITION}:lambda:{region}:{account}:function:{name}"


def split_qualifier(arn: str) -> tuple[str, str]:
    """Cut a function's ARN into one without qualifier and the qualifier or an empty string."""
    if arn.count(":") != 7:
        return arn, ""
    unqualified, _, qualifier = arn.rpartition(":")
    return unqualified, qualifier


def split_version(arn: str) -> tuple[str, str]:
    """Cut a text that ends in ``:VERSION``, such as a layer's ARN or name, at its last colon.

    Without a colon the first part is empty.
    """
    base, _, version = arn.rpartition(":")
    return base, version


def bucket_arn(bucket: str, key: str | None = None) -> str:
    """Return the ARN of a bucket, or of an object in it."""
    base = f"arn:{PARTITION}:s3:::{bucket}"
    return base if key is None else f"{base}/{key}"


def iam_arn(account: str, resource: str) -> str:
    """Return the ARN of a user, group, role or policy, whose resource is kind, path and name."""
    return build("iam", "", account, resource)


def root_arn(account: str) -> str:
    """Return the ARN of an account's root user, which stands for the account in policies."""
    return iam_arn(account, "root")


def session_arn(account: str, role: str, session: str) -> str:
    """Return the ARN of a session of a role, in which the role's path is not."""
    return build("sts", "", account, f"assumed-role/{role}/{session}")


def last_name(arn: str) -> str:
    """Return what follows the last slash of an ARN: a user's name, or a session's."""
    return arn.rpartition("/")[2]
