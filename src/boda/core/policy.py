"""The IAM policy language: parsing and evaluation, pure.

Interface (the evaluation itself is in this file):
    Policy.parse(document)  -> Policy, raises MalformedPolicy
    decide(question, permissions…) -> Decision
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from boda.core.principal import Principal


class MalformedPolicy(ValueError):
    """The document is not a policy; the message is AWS's."""


@dataclass(frozen=True, slots=True)
class Question:
    """May this principal do this to that? context: condition keys and their values."""

    principal: Principal
    action: str
    resource: str
    context: Mapping[str, str | Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Policy:
    """A parsed policy document."""

    document: Mapping[str, Any]

    @classmethod
    def parse(cls, document: str | Mapping[str, Any]) -> Policy:
        raise NotImplementedError
