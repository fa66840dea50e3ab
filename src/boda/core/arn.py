"""Amazon Resource Names."""

from __future__ import annotations

from dataclasses import dataclass

PARTITION = "aws"
DEFAULT_ACCOUNT = "000000000000"
DEFAULT_REGION = "us-east-1"


@dataclass(frozen=True, slots=True)
class Arn:
    """``arn:partition:service:region:account:resource``; the resource may itself hold colons."""

    service: str
    region: str
    account: str
    resource: str
    partition: str = PARTITION

    @classmethod
    def parse(cls, text: str) -> Arn:
        """Raises ValueError when the text is not an ARN."""
        parts = text.split(":", 5)
        if len(parts) != 6 or parts[0] != "arn" or not parts[1] or not parts[2] or not parts[5]:
            raise ValueError(f"not an ARN: {text!r}")
        return cls(parts[2], parts[3], parts[4], parts[5], parts[1])

    @classmethod
    def read(cls, text: str) -> Arn | None:
        """The same; None when the text is not an ARN."""
        try:
            return cls.parse(text)
        except ValueError:
            return None

    def __str__(self) -> str:
        return f"arn:{self.partition}:{self.service}:{self.region}:{self.account}:{self.resource}"
