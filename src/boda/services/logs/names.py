"""Names, ARNs and the rules for parameters. Pure.

Sources: the service model's limits, recorded answers, and the API reference of CloudWatch Logs.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence

from boda.core.arn import Arn, build, is_arn
from boda.core.errors import AwsError
from boda.core.tags import TagRules

DAY_MS = 86_400_000
HOUR_MS = 3_600_000
MAX_BATCH_BYTES = 1_048_576
MAX_EVENT_BYTES = 1_048_576
EVENT_OVERHEAD_BYTES = 26
RETENTION_DAYS = (
    *(1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827),
    *(2192, 2557, 2922, 3288, 3653),
)
_GROUP = re.compile(r"[.\-_/#A-Za-z0-9]+")
_STREAM = re.compile(r"[^:*]*")
_MAX_NAME = 512


def group_arn(region: str, account: str, group: str) -> str:
    return build("logs", region, account, f"log-group:{group}")


def stream_arn(region: str, account: str, group: str, stream: str) -> str:
    return f"{group_arn(region, account, group)}:log-stream:{stream}"


def invalid(message: str) -> AwsError:
    return AwsError("InvalidParameterException", message)


def no_group() -> AwsError:
    return AwsError("ResourceNotFoundException", "The specified log group does not exist.")


def no_stream() -> AwsError:
    return AwsError("ResourceNotFoundException", "The specified log stream does not exist.")


def check_group_name(name: str) -> None:
    _check_length(name)
    if _GROUP.fullmatch(name) is None:
        raise invalid(
            f"1 validation error detected: Value '{name}' at 'logGroupName' failed to satisfy "
            r"constraint: Member must satisfy regular expression pattern: [\.\-_/#A-Za-z0-9]+"
        )
    if name.lower().startswith("aws/"):
        raise invalid("Log groups starting with AWS/ are reserved for AWS.")


def check_stream_name(name: str) -> None:
    _check_length(name)
    if _STREAM.fullmatch(name) is None:
        raise invalid(
            f"1 validation error detected: Value '{name}' at 'logStreamName' failed to satisfy "
            "constraint: Member must satisfy regular expression pattern: [^:*]*"
        )


def check_retention(days: int) -> None:
    if days not in RETENTION_DAYS:
        allowed = ", ".join(str(one) for one in RETENTION_DAYS)
        raise invalid(
            f"1 validation error detected: Value '{days}' at 'retentionInDays' failed to satisfy "
            f"constraint: Member must satisfy enum value set: [{allowed}]"
        )


def group_of(account: str, region: str, name: str | None, identifier: str | None) -> str:
    """Return the group's name from ``logGroupName`` or ``logGroupIdentifier``, of which one is
    given."""
    if name is not None and identifier is not None:
        raise AwsError(
            "ValidationException",
            "LogGroup name and LogGroup ARN are mutually exclusive parameters.",
        )
    if identifier is not None:
        return group_in_identifier(account, region, identifier)
    if name is None:
        raise AwsError(
            "ValidationException", "Either LogGroup name or LogGroup ARN must be specified."
        )
    return name


def group_in_identifier(account: str, region: str, identifier: str) -> str:
    """Return the group's name of a name or an ARN."""
    if not is_arn(identifier):
        return identifier
    return group_in_arn(account, region, identifier)


def group_in_arn(account: str, region: str, text: str) -> str:
    """Return the group's name of an ARN. Raises AwsError if it is no group's, or of another account
    or region."""
    try:
        arn = Arn.parse(text)
    except ValueError:
        raise invalid(f"Invalid ARN: {text}") from None
    kind = arn.words[0]
    if arn.service != "logs" or kind != "log-group" or _GROUP.fullmatch(arn.name) is None:
        raise invalid(f"Invalid ARN: {text}")
    if (arn.account, arn.region) != (account, region):
        raise no_group()
    return arn.name


TAGS = TagRules(
    reserved=lambda _key, _value: invalid("Tag keys starting with 'aws:' are reserved for AWS."),
    too_many=lambda: AwsError("TooManyTagsException", "A resource can have no more than 50 tags."),
)


class AcceptedEvents:
    """The events of a PutLogEvents batch that are stored, and those that are not.

    events: those to store, in order. rejected: ``rejectedLogEventsInfo``, empty if all are stored.
    Raises AwsError for a batch that is refused whole.
    """

    def __init__(
        self,
        batch: Sequence[Mapping[str, object]],
        now_ms: int,
        oldest_kept_ms: int,
    ) -> None:
        events = [(int(str(one["timestamp"])), str(one["message"])) for one in batch]
        self._check_sizes(events)
        times = [time_ms for time_ms, _ in events]
        if any(later < earlier for earlier, later in itertools.pairwise(times)):
            raise invalid(
                "Log events in a single PutLogEvents request must be in chronological order."
            )
        too_old = sum(time_ms < now_ms - 14 * DAY_MS for time_ms in times)
        expired = sum(time_ms < oldest_kept_ms for time_ms in times)
        too_new = sum(time_ms > now_ms + 2 * HOUR_MS for time_ms in times)
        self.rejected: dict[str, int] = {}
        # In order of time: old ones first, new ones last.
        if too_old:
            self.rejected["tooOldLogEventEndIndex"] = too_old
        if expired > too_old:
            self.rejected["expiredLogEventEndIndex"] = expired
        if too_new:
            self.rejected["tooNewLogEventStartIndex"] = len(events) - too_new
        self.events = events[max(too_old, expired) : len(events) - too_new]
        if self.events and self.events[-1][0] - self.events[0][0] > DAY_MS:
            raise invalid(
                "The batch of log events in a single PutLogEvents request cannot span more than "
                "24 hours."
            )

    @staticmethod
    def _check_sizes(events: Sequence[tuple[int, str]]) -> None:
        total = 0
        for _, message in events:
            size = len(message.encode("utf-8", "replace"))
            if size > MAX_EVENT_BYTES:
                raise invalid(
                    f"Log event too large: {size} bytes exceeds limit of {MAX_EVENT_BYTES}"
                )
            total += size + EVENT_OVERHEAD_BYTES
        if total > MAX_BATCH_BYTES:
            raise invalid(f"Upload too large: {total} bytes exceeds limit of {MAX_BATCH_BYTES}")


def _check_length(name: str) -> None:
    if not 1 <= len(name) <= _MAX_NAME:
        raise invalid(
            "Invalid LogGroup or LogStream, both must have length less than or equal to 512."
        )
