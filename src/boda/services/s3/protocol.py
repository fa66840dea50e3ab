"""S3's dialect of rest-xml: its own errors, root elements, request ids and leniency.

https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping
from typing import Any

from botocore.model import OperationModel, Shape

from boda.core.errors import AwsError, MalformedInput
from boda.gateway.protocols.protocol import ErrorNames, Headers
from boda.gateway.protocols.query import error_elements
from boda.gateway.protocols.rest import InputPlan, OutputPlan
from boda.gateway.protocols.rest_xml import RestXml
from boda.gateway.protocols.xml_values import Node, ReadText, escape

_NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
MALFORMED_XML = (
    "The XML you provided was not well-formed or did not validate against our published schema"
)
_PART_NUMBER = "Part number must be an integer between 1 and 10000, inclusive"
# SDKs' models name an answer by its shape; the service names its documents so.
_ROOTS = {
    "CompleteMultipartUpload": "CompleteMultipartUploadResult",
    "CreateMultipartUpload": "InitiateMultipartUploadResult",
    "CreateSession": "CreateSessionResult",
    "DeleteObjects": "DeleteResult",
    "GetBucketAccelerateConfiguration": "AccelerateConfiguration",
    "GetBucketAcl": "AccessControlPolicy",
    "GetBucketCors": "CORSConfiguration",
    "GetBucketLifecycle": "LifecycleConfiguration",
    "GetBucketLifecycleConfiguration": "LifecycleConfiguration",
    "GetBucketLogging": "BucketLoggingStatus",
    "GetBucketNotification": "NotificationConfiguration",
    "GetBucketRequestPayment": "RequestPaymentConfiguration",
    "GetBucketTagging": "Tagging",
    "GetBucketVersioning": "VersioningConfiguration",
    "GetBucketWebsite": "WebsiteConfiguration",
    "GetObjectAcl": "AccessControlPolicy",
    "GetObjectAttributes": "GetObjectAttributesResponse",
    "GetObjectLegalHold": "LegalHold",
    "GetObjectRetention": "Retention",
    "GetObjectTagging": "Tagging",
    "ListBucketAnalyticsConfigurations": "ListBucketAnalyticsConfigurationResult",
    "ListBucketInventoryConfigurations": "ListInventoryConfigurationsResult",
    "ListBucketMetricsConfigurations": "ListMetricsConfigurationsResult",
    "ListBuckets": "ListAllMyBucketsResult",
    "ListDirectoryBuckets": "ListAllMyDirectoryBucketsResult",
    "ListMultipartUploads": "ListMultipartUploadsResult",
    "ListObjectVersions": "ListVersionsResult",
    "ListObjects": "ListBucketResult",
    "ListObjectsV2": "ListBucketResult",
    "ListParts": "ListPartsResult",
}


class S3Protocol(RestXml):
    millis = True

    def malformed(self, error: MalformedInput) -> AwsError:
        if error.where == "path":
            return AwsError("InvalidURI", "Couldn't parse the specified URI.")
        if error.where == "query":
            return AwsError("InvalidArgument", "The query string is not valid UTF-8.")
        return AwsError("MalformedXML", MALFORMED_XML)

    def request_id_headers(self, request_id: str) -> Headers:
        return [
            ("x-amz-request-id", request_id),
            ("x-amz-id-2", _host_id(request_id)),
            ("Server", "AmazonS3"),
        ]

    def default_blob_type(self, op: OperationModel) -> str:
        return "binary/octet-stream"

    def query_value(self, convert: ReadText, text: str, name: str) -> Any:
        try:
            return convert(text)
        except MalformedInput:
            if not text:
                return None  # ``max-keys=`` asks for the default
            message = f"Provided {name} not an integer or within integer range"
            raise AwsError(
                "InvalidArgument",
                _PART_NUMBER if name == "partNumber" else message,
                ArgumentName=name,
                ArgumentValue=text,
            ) from None

    def _read_query(self, plan: InputPlan, query: str, params: dict[str, Any]) -> None:
        super()._read_query(plan, query, params)
        for member, _, _ in plan.query.values():
            if params.get(member, "") is None:
                del params[member]

    def _read_header(
        self, params: dict[str, Any], member: str, name: str, convert: ReadText, text: str
    ) -> None:
        try:
            params[member] = convert(text)
        except MalformedInput:
            if name in ("expires", "content-length") or name.startswith("if-"):
                return  # malformed conditions are no conditions to S3
            raise AwsError(
                "InvalidArgument",
                f"The value of the {name} header is not valid.",
                ArgumentName=name,
                ArgumentValue=text,
            ) from None

    def root_name(self, op: OperationModel, plan: OutputPlan) -> str:
        return _ROOTS.get(op.name) or super().root_name(op, plan)

    def root_namespace(self, shape: Shape) -> str:
        return f' xmlns="{_NAMESPACE}"'

    def check_root(self, root: Node, op: OperationModel, plan: InputPlan) -> None:
        shape = plan.payload_shape
        if shape is not None and root.name != shape.serialization.get("name", root.name):
            raise MalformedInput("The document's root element is another")

    def body_writer(self, op: OperationModel, plan: OutputPlan) -> Callable[[Any], bytes] | None:
        if op.name != "GetBucketLocation":
            return super().body_writer(op, plan)

        def location(value: Mapping[str, Any]) -> bytes:
            # The one answer whose member is the root element itself.
            region = escape(value.get("LocationConstraint") or "")
            return (
                '<?xml version="1.0" encoding="UTF-8"?>\n'
                f'<LocationConstraint xmlns="{_NAMESPACE}">{region}</LocationConstraint>'
            ).encode()

        return location

    def error_document(self, error: AwsError, names: ErrorNames, request_id: str) -> str:
        return (
            f"<Error>{error_elements(error, names, self._writer)}"
            f"<RequestId>{escape(request_id)}</RequestId>"
            f"<HostId>{_host_id(request_id)}</HostId></Error>"
        )


def _host_id(request_id: str) -> str:
    """Return an opaque second identifier, the same for the same request."""
    return base64.b64encode(hashlib.sha384(request_id.encode()).digest()).decode()
