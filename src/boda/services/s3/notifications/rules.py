"""A bucket's notification configuration: its rules, and the events that they pick. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from boda.core.arn import Arn
from boda.core.ids import Ids
from boda.services.s3 import errors

EVENTS = frozenset(
    "s3:" + name
    for name in (
        "ReducedRedundancyLostObject",
        "ObjectCreated:*",
        "ObjectCreated:Put",
        "ObjectCreated:Post",
        "ObjectCreated:Copy",
        "ObjectCreated:CompleteMultipartUpload",
        "ObjectRemoved:*",
        "ObjectRemoved:Delete",
        "ObjectRemoved:DeleteMarkerCreated",
        "ObjectRestore:*",
        "ObjectRestore:Post",
        "ObjectRestore:Completed",
        "ObjectRestore:Delete",
        "Replication:*",
        "Replication:OperationFailedReplication",
        "Replication:OperationNotTracked",
        "Replication:OperationMissedThreshold",
        "Replication:OperationReplicatedAfterThreshold",
        "LifecycleTransition",
        "IntelligentTiering",
        "ObjectAcl:Put",
        "LifecycleExpiration:*",
        "LifecycleExpiration:Delete",
        "LifecycleExpiration:DeleteMarkerCreated",
        "ObjectTagging:*",
        "ObjectTagging:Put",
        "ObjectTagging:Delete",
    )
)

KINDS = (
    ("LambdaFunctionConfigurations", "LambdaFunctionArn", "CloudFunction", "lambda"),
    ("QueueConfigurations", "QueueArn", "Queue", "sqs"),
    ("TopicConfigurations", "TopicArn", "Topic", "sns"),
)
"""The lists of a configuration: member, member of the ARN, name in errors, ARN service."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One configuration: its id, its target, and the events that it picks.

    events: names with ``s3:``, some ending in ``*``. prefix, suffix: of the key, raw.
    """

    id: str
    target: str
    events: frozenset[str]
    prefix: str = ""
    suffix: str = ""

    def picks(self, event: str, key: str) -> bool:
        """Return whether the rule picks an event. event: with ``s3:``, for example
        ``s3:ObjectCreated:Put``."""
        family = event.rpartition(":")[0] + ":*"
        return (
            (event in self.events or family in self.events)
            and key.startswith(self.prefix)
            and key.endswith(self.suffix)
        )

    def overlaps(self, other: Rule) -> bool:
        """Return whether both rules could pick one event, as S3 compares prefix and suffix."""
        return (
            any(_same(ours, theirs) for ours in self.events for theirs in other.events)
            and _either(str.startswith, self.prefix, other.prefix)
            and _either(str.endswith, self.suffix, other.suffix)
        )


@dataclass(frozen=True, slots=True)
class Notifications:
    """A parsed configuration: its rules, and whether everything goes to EventBridge."""

    rules: tuple[Rule, ...] = ()
    event_bridge: bool = False

    def __bool__(self) -> bool:
        return bool(self.rules) or self.event_bridge

    @classmethod
    def parse(cls, configuration: Mapping[str, Any]) -> Notifications:
        """Parse a valid configuration by model names."""
        rules = tuple(
            _rule(found, found[arn_member]) for _, arn_member, found in _each(configuration)
        )
        return cls(rules, configuration.get("EventBridgeConfiguration") is not None)

    def picked(self, event: str, key: str) -> list[Rule]:
        return [rule for rule in self.rules if rule.picks(event, key)]


def validated(configuration: Mapping[str, Any], ids: Ids) -> dict[str, Any]:
    """Return the configuration in its stored form: missing ids made, filter names as S3 writes
    them.

    Destinations are not checked here. Raises InvalidArgument and MalformedXML as S3 does.
    """
    kept: dict[str, Any] = {}
    for member, arn_member, label, service in KINDS:
        found = [
            _configuration(each, arn_member, label, service, ids)
            for each in configuration.get(member) or ()
        ]
        if found:
            kept[member] = found
    if configuration.get("EventBridgeConfiguration") is not None:
        kept["EventBridgeConfiguration"] = {}
    rules = Notifications.parse(kept).rules
    if len({rule.id for rule in rules}) < len(rules):
        raise errors.invalid_argument(
            "Id",
            next(rule.id for rule in rules if sum(rule.id == each.id for each in rules) > 1),
            "Same ID used for multiple configurations. IDs must be unique",
        )
    for index, rule in enumerate(rules):
        for other in rules[:index]:
            if rule.overlaps(other):
                raise _overlap(rule, other)
    return kept


def targets(configuration: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield (kind, ARN) of every destination, the kind as in KINDS' error names."""
    for member, arn_member, label, _ in KINDS:
        for found in configuration.get(member) or ():
            yield label, found[arn_member]


def _configuration(
    given: Mapping[str, Any], arn_member: str, label: str, service: str, ids: Ids
) -> dict[str, Any]:
    arn = given.get(arn_member) or ""
    try:
        if Arn.parse(arn).service != service:
            raise ValueError
    except ValueError:
        raise errors.invalid_argument(label, arn, "The ARN could not be parsed") from None
    events = list(given.get("Events") or ())
    if not events:
        raise errors.malformed_xml()
    for event in events:
        if event not in EVENTS:
            raise errors.invalid_argument(
                "Event", event, "The event is not supported for notifications"
            )
    name: str = given.get("Id") or ids.uuid()
    if len(name) > 255:
        raise errors.invalid_argument("Id", name, "The ID cannot be longer than 255 characters")
    kept: dict[str, Any] = {"Id": name, arn_member: arn, "Events": events}
    if given.get("Filter") is not None:
        rules = _filter_rules(given["Filter"])
        if rules:
            kept["Filter"] = {"Key": {"FilterRules": rules}}
    return kept


def _filter_rules(given: Mapping[str, Any]) -> list[dict[str, str]]:
    kept: list[dict[str, str]] = []
    for rule in (given.get("Key") or {}).get("FilterRules") or ():
        name, value = rule.get("Name"), rule.get("Value")
        if not name or value is None:
            raise errors.malformed_xml()
        if name.lower() not in ("prefix", "suffix"):
            raise errors.invalid_argument(
                "FilterRule.Name", name, "filter rule name must be either prefix or suffix"
            )
        if len(value.encode()) > 1024:
            raise errors.invalid_argument(
                "FilterRule.Value", value, "Size of filter rule value cannot exceed 1024 bytes"
            )
        if any(each["Name"] == name.capitalize() for each in kept):
            raise errors.invalid_argument(
                "FilterRule.Name",
                name,
                f"Cannot specify more than one {name.lower()} rule in a filter.",
            )
        kept.append({"Name": name.capitalize(), "Value": value})
    return kept


def _each(configuration: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    for member, arn_member, _, _ in KINDS:
        for found in configuration.get(member) or ():
            yield member, arn_member, found


def _rule(found: Mapping[str, Any], target: str) -> Rule:
    filters = (found.get("Filter") or {}).get("Key", {}).get("FilterRules", ())
    parts = {each["Name"].lower(): each["Value"] for each in filters}
    return Rule(
        found["Id"],
        target,
        frozenset(found["Events"]),
        parts.get("prefix", ""),
        parts.get("suffix", ""),
    )


def _same(one: str, other: str) -> bool:
    return one == other or (
        (one.endswith(":*") and other.startswith(one[:-1]))
        or (other.endswith(":*") and one.startswith(other[:-1]))
    )


def _either(test: Any, one: str, other: str) -> bool:
    return bool(test(one, other) or test(other, one))


def _overlap(rule: Rule, other: Rule) -> Exception:
    filtered = rule.prefix or rule.suffix or other.prefix or other.suffix
    message = (
        "Configuration is ambiguously defined. Cannot have overlapping suffixes in two rules if "
        "the prefixes are overlapping for the same event type."
        if filtered
        else "Configurations overlap. Configurations on the same bucket cannot share a common "
        "event type."
    )
    return errors.invalid_argument("NotificationConfiguration", "", message)
