"""STS's rules: role ARNs, durations, session policies and tags; in AWS's words.

Source: STS API Reference, AssumeRole, GetSessionToken, GetFederationToken; IAM User Guide,
"Pass session tags in AWS STS".
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

from boda.core import tags
from boda.core.arn import Arn
from boda.core.errors import AwsError
from boda.core.policy import MalformedPolicy, Policy
from boda.gateway.calling.operation import Context
from boda.gateway.signing.identities import Sessions, Tags

CHAINED_LIMIT_S = 3_600
ROLE_DEFAULT_S = 3_600
TOKEN_DEFAULT_S = 43_200
ROOT_LIMIT_S = 3_600
PACKED_LIMIT = 2_048
"""Characters of session policies, policy ARNs and tags together."""

_ACCOUNT = re.compile(r"\d{12}")


def invalid(message: str) -> AwsError:
    return AwsError("ValidationError", message, 400)


def invalid_value(message: str) -> AwsError:
    return AwsError("InvalidParameterValue", message, 400)


def role_arn(text: str) -> str:
    arn = Arn.read(text)
    if (
        arn is None
        or not arn.partition.startswith("aws")
        or (arn.service, arn.region) != ("iam", "")
        or not _ACCOUNT.fullmatch(arn.account)
        or not (arn.path[0] == "role" and arn.path[1])
    ):
        raise invalid(f"{text} is invalid")
    return text


def role_duration(asked: int | None, longest_s: int, *, chained: bool) -> int:
    """Return the seconds of a role session."""
    if asked is None:
        return ROLE_DEFAULT_S
    if chained and asked > CHAINED_LIMIT_S:
        raise invalid(
            "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by "
            "role chaining"
        )
    if asked > longest_s:
        raise invalid(
            "The requested DurationSeconds exceeds the MaxSessionDuration set for this role."
        )
    return asked


def token_duration(asked: int | None, *, root: bool) -> int:
    """Return the seconds of a user's session; the root user's end after an hour at most."""
    seconds = TOKEN_DEFAULT_S if asked is None else asked
    return min(seconds, ROOT_LIMIT_S) if root else seconds


def session_policies(
    ctx: Context, sessions: Sessions, text: str | None, arns: Sequence[Mapping[str, str]]
) -> tuple[list[str], list[str]]:
    """Return the session policies' texts and ARNs, each of them valid and existing."""
    texts = []
    if text is not None:
        try:
            policy = Policy.parse(text, "identity")
        except MalformedPolicy as error:
            raise AwsError("MalformedPolicyDocument", str(error), 400) from None
        ctx.policies.admit(ctx.service, ctx.operation, policy)
        texts.append(text)
    found = []
    for entry in arns:
        arn = entry.get("arn", "")
        if not sessions.has_policy(arn):
            raise invalid(f"Policy {arn} does not exist or is not attachable.")
        found.append(arn)
    if len(found) > 10:
        raise invalid("Cannot exceed quota for session policy ARNs: 10")
    return texts, found


_TAGS = tags.TagRules(
    reserved=lambda _key, _value: invalid_value(
        "aws: prefixed tag key names are not allowed for external use."
    ),
    repeated=lambda _key, _value: invalid_value(
        "Duplicate tag keys found. Please note that Tag keys are case insensitive."
    ),
    same=str.lower,
)


def session_tags(given: Sequence[Mapping[str, str]]) -> Tags:
    return tuple(_TAGS.read(tags.pairs(given)).items())


def inherited(
    given: Tags, transitive: Sequence[str], former: Tags, former_transitive: Sequence[str]
) -> tuple[Tags, tuple[str, ...]]:
    """Return the tags of a session opened from another: its transitive tags are inherited and
    cannot change."""
    keys = {key.lower() for key, _ in given}
    if any(key.lower() not in keys for key in transitive):
        raise invalid_value(
            "The specified transitive tag key must be included in the requested tags."
        )
    passed = {key.lower() for key in former_transitive}
    if keys & passed:
        raise invalid_value(
            "One of the specified transitive tag keys can't be set because it conflicts with a "
            "transitive tag key from the calling session."
        )
    kept = tuple(tag for tag in former if tag[0].lower() in passed)
    return (*given, *kept), (*transitive, *(key for key, _ in kept))


def packed_size(texts: Sequence[str], arns: Sequence[str], given: Tags) -> int:
    """Return the percentage of the limit of session policies and tags. Raises AwsError
    PackedPolicyTooLarge (400) past it.

    AWS packs them in a binary form that it does not publish; here it is their length.
    """
    used = sum(map(len, texts)) + sum(map(len, arns)) + sum(len(k) + len(v) for k, v in given)
    percent = math.ceil(used * 100 / PACKED_LIMIT)
    if percent > 100:
        raise AwsError(
            "PackedPolicyTooLarge",
            f"Packed policy consumes {percent}% of allotted space, please use smaller policy.",
            400,
        )
    return percent
