"""Event source mappings: from which source a function is called, and how.

Sources are known by their ARNs: a mapping to any well-formed ARN of a supported kind is accepted.
Only the API's side is kept here, states included; pollers read it from the shelf.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any

from boda.core.arn import Arn, build, is_arn
from boda.core.errors import AwsError
from boda.gateway.asking import tag_keys
from boda.gateway.asking.need import Need
from boda.gateway.asking.tag_keys import Keys
from boda.gateway.calling.operation import Answer, Authorize, Context, operation
from boda.gateway.calling.paging import Listing, Paged, RowList
from boda.invoke.function_table import LATEST
from boda.services.lambda_.access import of_parameters, on_account, tags_of_request
from boda.services.lambda_.core import LambdaCore
from boda.services.lambda_.errors import conflict, invalid, resource_not_found
from boda.services.lambda_.identifiers import Identifier
from boda.services.lambda_.mappings import rules as mapping_rules
from boda.services.lambda_.rows_resources import Place
from boda.services.lambda_.settings import rules
from boda.services.lambda_.settings.roles import MAPPED, RoleCheck
from boda.services.lambda_.shelf import Document, Shelf

KIND = "event-source-mapping"
_STEADY = ("Enabled", "Disabled")


def _on_mapping(action: str) -> Authorize:
    """Authorise an action on the mapping, for the function that it has and for the one that it
    would get."""

    def needs(group: Any, ctx: Context, params: Mapping[str, Any]) -> Iterator[Need]:
        place, uuid = (ctx.account, ctx.region), params["UUID"]
        document = group.mapping(place, uuid) or {}
        keys = tag_keys.of_resource(document.get("Tags", {}))
        if document:
            keys["lambda:FunctionArn"] = document["FunctionArn"]
        yield Need(action, _arn(place, uuid), context=keys)
        if "FunctionName" in params:
            moved = {**keys, **_of_function(group, ctx, params)}
            yield Need(action, _arn(place, uuid), context=moved)

    return needs


def _on_new_mapping(group: Any, ctx: Context, params: Mapping[str, Any]) -> Iterator[Need]:
    def keys() -> Keys:
        return {**_of_function(group, ctx, params), **tags_of_request(params)}

    yield Need("lambda:CreateEventSourceMapping", late=of_parameters(keys))


def _of_function(group: Any, ctx: Context, params: Mapping[str, Any]) -> Keys:
    identifier: Identifier = group.core.identify(ctx, params["FunctionName"])
    return {"lambda:FunctionArn": identifier.named_arn}


class EventSourceMappings:
    """The mappings and their changes of state. settle_s: how long a change is seen under way."""

    def __init__(self, core: LambdaCore, settle_s: float) -> None:
        self.shelf = Shelf(core, KIND)
        self._core = core
        self._settle_s = settle_s

    def settle(self, place: Place, uuid: str) -> None:
        """Let a change that was just stored take effect, later."""
        step = partial(self._finish, place, uuid)
        self._core.settling.schedule(step, after_s=self._settle_s)

    async def finish_all(self) -> None:
        """After a start, complete the changes that a crash interrupted."""
        for place, uuid, _ in self.shelf.everything():
            await self._finish(place, uuid)

    async def _finish(self, place: Place, uuid: str) -> bool:
        async with self.shelf.lock(place):
            document = self.shelf.find(place, uuid)
            if document is None or document["State"] in _STEADY:
                return True
            try:
                if document["State"] == "Deleting":
                    await self.shelf.drop(place, uuid)
                else:
                    state = "Enabled" if document["Enabled"] else "Disabled"
                    await self.shelf.put(place, uuid, {**document, "State": state})
            except AwsError:
                return False  # the disk refused; it is tried again
            return True


class EventSourceMappingOperations:
    def __init__(self, core: LambdaCore, mappings: EventSourceMappings, roles: RoleCheck) -> None:
        self.core = core
        self._roles = roles
        self._mappings = mappings
        self._shelf = mappings.shelf
        self.mapping = mappings.shelf.find

    @operation("CreateEventSourceMapping", authorize=_on_new_mapping)
    async def create_event_source_mapping(
        self,
        ctx: Context,
        *,
        function_name: str,
        event_source_arn: str | None = None,
        enabled: bool | None = None,
        batch_size: int | None = None,
        filter_criteria: Mapping[str, Any] | None = None,
        kms_key_arn: str | None = None,
        metrics_config: Mapping[str, Any] | None = None,
        logging_config: Mapping[str, Any] | None = None,
        scaling_config: Mapping[str, Any] | None = None,
        maximum_batching_window_in_seconds: int | None = None,
        parallelization_factor: int | None = None,
        starting_position: str | None = None,
        starting_position_timestamp: datetime | None = None,
        destination_config: Mapping[str, Any] | None = None,
        maximum_record_age_in_seconds: int | None = None,
        bisect_batch_on_function_error: bool | None = None,
        maximum_retry_attempts: int | None = None,
        tags: Mapping[str, str] | None = None,
        tumbling_window_in_seconds: int | None = None,
        topics: list[str] | None = None,
        queues: list[str] | None = None,
        source_access_configurations: list[Mapping[str, Any]] | None = None,
        self_managed_event_source: Mapping[str, Any] | None = None,
        function_response_types: list[str] | None = None,
        amazon_managed_kafka_event_source_config: Mapping[str, Any] | None = None,
        self_managed_kafka_event_source_config: Mapping[str, Any] | None = None,
        document_db_event_source_config: Mapping[str, Any] | None = None,
        provisioned_poller_config: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        given = _given(
            EventSourceArn=event_source_arn,
            BatchSize=batch_size,
            FilterCriteria=filter_criteria,
            KMSKeyArn=kms_key_arn,
            MetricsConfig=metrics_config,
            LoggingConfig=logging_config,
            ScalingConfig=scaling_config,
            MaximumBatchingWindowInSeconds=maximum_batching_window_in_seconds,
            ParallelizationFactor=parallelization_factor,
            StartingPosition=starting_position,
            StartingPositionTimestamp=_epoch(starting_position_timestamp),
            DestinationConfig=destination_config,
            MaximumRecordAgeInSeconds=maximum_record_age_in_seconds,
            BisectBatchOnFunctionError=bisect_batch_on_function_error,
            MaximumRetryAttempts=maximum_retry_attempts,
            TumblingWindowInSeconds=tumbling_window_in_seconds,
            Topics=topics,
            Queues=queues,
            SourceAccessConfigurations=source_access_configurations,
            SelfManagedEventSource=self_managed_event_source,
            FunctionResponseTypes=function_response_types,
            AmazonManagedKafkaEventSourceConfig=amazon_managed_kafka_event_source_config,
            SelfManagedKafkaEventSourceConfig=self_managed_kafka_event_source_config,
            DocumentDBEventSourceConfig=document_db_event_source_config,
            ProvisionedPollerConfig=provisioned_poller_config,
        )
        source = mapping_rules.source_of(given)
        document: Document = {
            "Members": mapping_rules.create(source, given),
            "FunctionArn": self._function_arn(ctx, function_name),
            "Enabled": enabled is not False,
            "State": "Creating",
            "Tags": rules.tags(tags, self.core.quotas),
        }
        if source.is_queue and not document["Enabled"]:
            document["State"] = "Disabled"  # recorded: at once
        return await self.core.whole(self._create((ctx.account, ctx.region), document))

    async def _create(self, place: Place, document: Document) -> dict[str, Any]:
        async with self._shelf.lock(place):
            self._refuse_duplicate(place, document)
            self._check_role(place, document)
            uuid = self.core.ids.uuid()
            stored = {**document, "LastModified": self.core.clock.now()}
            await self._shelf.put(place, uuid, stored)
            self._mappings.settle(place, uuid)
            return _answer(place, uuid, stored)

    @operation("GetEventSourceMapping", authorize=_on_mapping("lambda:GetEventSourceMapping"))
    async def get_event_source_mapping(self, ctx: Context, *, uuid: str) -> dict[str, Any]:
        place = (ctx.account, ctx.region)
        return _answer(place, uuid, self._find(place, uuid))

    @operation(
        "ListEventSourceMappings",
        authorize=on_account("lambda:ListEventSourceMappings"),
        paged=Paged(size=100, most=100),
    )
    async def list_event_source_mappings(
        self,
        ctx: Context,
        *,
        event_source_arn: str | None = None,
        function_name: str | None = None,
    ) -> Listing:
        """Return mappings; none for a missing function or source."""
        place = (ctx.account, ctx.region)
        arn = None
        if function_name is not None:
            arn = self._named_arn(ctx, function_name)
        fitting = [
            (uuid, document)
            for uuid, document in self._shelf.all(place)
            if event_source_arn in (None, document["Members"].get("EventSourceArn"))
            and arn in (None, document["FunctionArn"])
        ]
        return RowList(fitting, lambda item: item[0], lambda item: _answer(place, *item))

    @operation("UpdateEventSourceMapping", authorize=_on_mapping("lambda:UpdateEventSourceMapping"))
    async def update_event_source_mapping(
        self,
        ctx: Context,
        *,
        uuid: str,
        function_name: str | None = None,
        enabled: bool | None = None,
        batch_size: int | None = None,
        filter_criteria: Mapping[str, Any] | None = None,
        kms_key_arn: str | None = None,
        metrics_config: Mapping[str, Any] | None = None,
        logging_config: Mapping[str, Any] | None = None,
        scaling_config: Mapping[str, Any] | None = None,
        maximum_batching_window_in_seconds: int | None = None,
        parallelization_factor: int | None = None,
        destination_config: Mapping[str, Any] | None = None,
        maximum_record_age_in_seconds: int | None = None,
        bisect_batch_on_function_error: bool | None = None,
        maximum_retry_attempts: int | None = None,
        tumbling_window_in_seconds: int | None = None,
        source_access_configurations: list[Mapping[str, Any]] | None = None,
        function_response_types: list[str] | None = None,
        amazon_managed_kafka_event_source_config: Mapping[str, Any] | None = None,
        self_managed_kafka_event_source_config: Mapping[str, Any] | None = None,
        document_db_event_source_config: Mapping[str, Any] | None = None,
        provisioned_poller_config: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Replace the given members."""
        given = _given(
            BatchSize=batch_size,
            FilterCriteria=filter_criteria,
            KMSKeyArn=kms_key_arn,
            MetricsConfig=metrics_config,
            LoggingConfig=logging_config,
            ScalingConfig=scaling_config,
            MaximumBatchingWindowInSeconds=maximum_batching_window_in_seconds,
            ParallelizationFactor=parallelization_factor,
            DestinationConfig=destination_config,
            MaximumRecordAgeInSeconds=maximum_record_age_in_seconds,
            BisectBatchOnFunctionError=bisect_batch_on_function_error,
            MaximumRetryAttempts=maximum_retry_attempts,
            TumblingWindowInSeconds=tumbling_window_in_seconds,
            SourceAccessConfigurations=source_access_configurations,
            FunctionResponseTypes=function_response_types,
            AmazonManagedKafkaEventSourceConfig=amazon_managed_kafka_event_source_config,
            SelfManagedKafkaEventSourceConfig=self_managed_kafka_event_source_config,
            DocumentDBEventSourceConfig=document_db_event_source_config,
            ProvisionedPollerConfig=provisioned_poller_config,
        )
        place = (ctx.account, ctx.region)
        self._find(place, uuid)
        changes: Document = {}
        if function_name is not None:
            changes["FunctionArn"] = self._function_arn(ctx, function_name)
        if enabled is not None:
            changes["Enabled"] = enabled
        return await self.core.whole(self._update(place, uuid, changes, given))

    async def _update(
        self, place: Place, uuid: str, changes: Document, given: Mapping[str, Any]
    ) -> dict[str, Any]:
        async with self._shelf.lock(place):
            present = self._find(place, uuid)
            if present["State"] not in _STEADY:
                raise _in_use("update")
            members = present["Members"]
            source = mapping_rules.source_of(members)
            changed = {**present, **changes}
            changed["Members"] = mapping_rules.merge(source, members, given)
            if changed["FunctionArn"] != present["FunctionArn"]:
                self._refuse_duplicate(place, changed, uuid)
            if changed["Enabled"]:
                self._check_role(place, changed)
            changed["State"] = "Updating"
            if changed["Enabled"] != present["Enabled"]:
                changed["State"] = "Enabling" if changed["Enabled"] else "Disabling"
            changed["LastModified"] = self.core.clock.now()
            await self._shelf.put(place, uuid, changed)
            self._mappings.settle(place, uuid)
            return _answer(place, uuid, changed)

    @operation("DeleteEventSourceMapping", authorize=_on_mapping("lambda:DeleteEventSourceMapping"))
    async def delete_event_source_mapping(self, ctx: Context, *, uuid: str) -> Answer:
        place = (ctx.account, ctx.region)
        return Answer(await self.core.whole(self._delete(place, uuid)), 202)

    async def _delete(self, place: Place, uuid: str) -> dict[str, Any]:
        async with self._shelf.lock(place):
            present = self._find(place, uuid)
            if present["State"] not in _STEADY:
                raise _in_use("delete")
            leaving = {**present, "State": "Deleting"}
            await self._shelf.put(place, uuid, leaving)
            self._mappings.settle(place, uuid)
            return _answer(place, uuid, leaving)

    def _find(self, place: Place, uuid: str) -> Document:
        found = self._shelf.find(place, uuid)
        if found is None:
            raise resource_not_found("The resource you requested does not exist.")
        return found

    def _function_arn(self, ctx: Context, function_name: str) -> str:
        """Return the function's ARN in the form that the mapping keeps. Raises AwsError if there is
        none."""
        identifier = self.core.identify(ctx, function_name)
        function = self.core.find(identifier.key)
        if function is None:
            raise invalid("Function does not exist")
        if not function.names(identifier.meant):
            raise resource_not_found(f"Function not found: {identifier.named_arn}")
        if function.latest.settings.tenancy:  # a source's records have no tenant
            raise invalid(
                "Event source mappings are not supported for functions with TenancyConfig."
            )
        return self._named_arn(ctx, function_name)

    def _check_role(self, place: Place, document: Document) -> None:
        """Raises AwsError if the function's role may not read the source, or send failed records to
        the mapping's destination."""
        function = self.core.find((*place, _function_name(document)))
        if function is None:  # deleted meanwhile; the mapping stays until it is deleted, too
            return
        role, members = function.latest.settings.role, document["Members"]
        self._roles.reads(function, role, members.get("EventSourceArn") or "")
        failure = (members.get("DestinationConfig") or {}).get("OnFailure") or {}
        self._roles.sends(function, role, failure.get("Destination") or "", MAPPED)

    def _named_arn(self, ctx: Context, function_name: str) -> str:
        """Recorded: a full ARN loses its ``$LATEST``, the shorter forms keep it."""
        identifier: Identifier = self.core.identify(ctx, function_name)
        if is_arn(function_name) and identifier.qualifier == LATEST:
            return identifier.arn
        return identifier.named_arn

    def _refuse_duplicate(self, place: Place, document: Document, own: str = "") -> None:
        """Refuse a second mapping of the same source and function."""
        members = document["Members"]
        origin = (members.get("EventSourceArn"), members.get("SelfManagedEventSource"))
        for uuid, other in self._shelf.all(place):
            theirs = other["Members"]
            if (
                uuid == own
                or other["FunctionArn"] != document["FunctionArn"]
                or (theirs.get("EventSourceArn"), theirs.get("SelfManagedEventSource")) != origin
                or theirs.get("Topics") != members.get("Topics")
            ):
                continue
            name = _function_name(document)
            arn = origin[0] or "self-managed"
            if mapping_rules.source_of(members).is_queue:
                raise conflict(
                    f'An event source mapping with SQS arn (" {arn} ") and function (" {name} ") '
                    "already exists. Please update or delete the existing mapping with UUID "
                    f"{uuid}"
                )
            raise conflict(
                f'The event source arn (" {arn} ") and function (" {name} ") provided mapping '
                f"already exists. Please update or delete the existing mapping with UUID {uuid}"
            )


def _given(**members: Any) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}


def _epoch(moment: datetime | None) -> float | None:
    return None if moment is None else moment.timestamp()


def _in_use(verb: str) -> AwsError:
    return AwsError(
        "ResourceInUseException",
        f"Cannot {verb} the event source mapping because it is in use.",
        400,
        Type="User",
    )


def _arn(place: Place, uuid: str) -> str:
    return build("lambda", place[1], place[0], f"{KIND}:{uuid}")


def _function_name(document: Document) -> str:
    return Arn.parse(document["FunctionArn"]).words[1]


def _answer(place: Place, uuid: str, document: Document) -> dict[str, Any]:
    members = document["Members"]
    source = mapping_rules.source_of(members)
    answer = {
        **members,
        "UUID": uuid,
        "EventSourceMappingArn": _arn(place, uuid),
        "FunctionArn": document["FunctionArn"],
        "LastModified": datetime.fromtimestamp(document["LastModified"], UTC),
        "State": document["State"],
        "StateTransitionReason": source.reason,
    }
    if "StartingPositionTimestamp" in members:
        moment = members["StartingPositionTimestamp"]
        answer["StartingPositionTimestamp"] = datetime.fromtimestamp(moment, UTC)
    if not source.is_queue:
        answer["LastProcessingResult"] = "No records processed"
    return answer
