"""How a service words and bounds things: data that a service hands to the gateway.

A service takes the dialect of its protocol's family, ``QUERY`` or ``JSON``, and replaces the parts
in which AWS's service differs from its family::

    DIALECT = replace(JSON, internal=("ServiceException", "The service encountered an error."))
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from botocore.model import OperationModel, Shape

from boda.core.errors import AwsError, printable
from boda.gateway.http.limits import MIB, BodyRule
from boda.gateway.http.wire import WireRequest
from boda.gateway.protocols.form import WireForm

Refusal = tuple[str, int, str]
"""Code, status and message; ``{0}`` in the message is replaced by the refusal's detail."""


@dataclass(frozen=True, slots=True, eq=False)
class Signatures:
    """How a service verifies signatures, and how it refuses one.

    refusals: by reason, the keys of ``JSON.signatures.refusals``. explains: refusals carry members
    with the details (``StringToSign`` …). skew_s: how far the time of signing may be off. raw_path:
    the path is signed as it was sent; otherwise normalised. hash_in_header: the payload's hash
    stands in ``x-amz-content-sha256``. every_amz_header: all headers ``x-amz-*`` must be signed.
    token_with_key: the key of a session is unknown without its token. expires_required: a presigned
    URL must have an expiry. old: presigned URLs of Signature Version 2 are accepted. hoisted: a
    presigned URL may carry headers as parameters. anonymous: unsigned requests are decided by the
    policies of the resources they name.
    """

    refusals: Mapping[str, Refusal]
    explains: bool = False
    skew_s: int = 300
    raw_path: bool = False
    hash_in_header: bool = False
    every_amz_header: bool = False
    token_with_key: bool = False
    expires_required: bool = False
    old: bool = False
    hoisted: bool = False
    anonymous: bool = False

    def refusal(self, why: str, detail: str = "", **fields: Any) -> AwsError:
        """Return the error in the service's words. fields: dropped unless the service explains."""
        code, status, message = self.refusals[why]
        shown = fields if self.explains else {}
        return AwsError(code, message.replace("{0}", detail), status, **shown)


def json_rule(operation: str, limit: int) -> BodyRule:
    return BodyRule(
        limit,
        "RequestEntityTooLargeException",
        f"Request must be smaller than {limit} bytes for the {operation} operation",
    )


@dataclass(frozen=True, slots=True, eq=False)
class Bodies:
    """The bounds of request bodies.

    rules: by operation. most: bytes of all other operations' bodies. rule: makes the rule of those
    from the operation's name and the limit. longest: elements of the longest list in an operation's
    body, "" for all others, where the model has no bound. digest_required: operations that are
    refused without a digest of their body, although their models do not require one of clients.
    streamed: a streamed body reaches its operation while it arrives.
    """

    rules: Mapping[str, BodyRule] = field(default_factory=dict)
    most: int = MIB
    rule: Callable[[str, int], BodyRule] = json_rule
    longest: Mapping[str, int] = field(default_factory=dict)
    digest_required: frozenset[str] = frozenset()
    streamed: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Validation:
    """The order and the words in which a service reports violations of its model, as recorded.

    required_only: only the presence of required members is checked by the model. missing: the error
    for one missing member, given its name and shape, from a service that refuses at the first.
    code: the error's code; chosen by protocol and operation if None. prefix: the beginning of a
    member's path, given the operation's name. sizes_first: a length is named before the pattern.
    null_listed: among the constraints of a list's members, the one against null is always listed.
    hashed_enums: the values of an enum are listed in the order of a hash set. enums: the text for a
    set of values whose order follows no rule. open_enums, open_lengths: names of shapes whose
    values, or sizes, the service checks itself.
    """

    required_only: bool = False
    missing: Callable[[str, Shape], AwsError] | None = None
    code: Callable[[OperationModel], str] | None = None
    prefix: Callable[[str], str] | None = None
    sizes_first: bool = False
    null_listed: bool = False
    hashed_enums: bool = False
    enums: Mapping[frozenset[str], str] = field(default_factory=dict)
    open_enums: frozenset[str] = frozenset()
    open_lengths: frozenset[str] = frozenset()


USUAL_VALIDATION = Validation()


@dataclass(frozen=True, slots=True, eq=False)
class Addressing:
    """How requests find a service beyond signing name, target and path.

    otherwise: it gets every request that belongs to no other service. label: the first segment of
    the path that a host name stands for, "" for none. trailing_slash: ``/a/`` is the same path as
    ``/a``. elsewhere: the signing name of another service that the request is for although it is
    signed for this one, "" for none. headers: the names of the headers that routing reads. form:
    the name of the upload of a browser's form, which is no operation of the model, "" for none.
    """

    otherwise: bool = False
    label: Callable[[str], str] | None = None
    trailing_slash: bool = True
    elsewhere: Callable[[WireRequest], str] | None = None
    headers: frozenset[str] = frozenset()
    form: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Dialect:
    """signatures … addressing: see there. form: how the service departs from its protocol.

    iam_prefix: of IAM actions, if it is not the signing name. forbidden: code and status.
    owner_key: the service's own condition key for the account that owns a resource, if any.
    hides_reasons: refusals do not explain themselves to callers of other accounts.
    quotes_resources: a refusal shows the resource in quotes. internal: code and message of the
    platform's own faults. unwritable: code for a disk that refuses writes. stopping: code and
    message while the platform stops. unknown: the error for a request that means no operation,
    given the operation's name if it has one, method and path. hex_request_ids: request ids are 16
    upper-case digits, no UUIDs.
    """

    signatures: Signatures
    stopping: tuple[str, str]
    unwritable: str
    unknown: Callable[[str, str, str], AwsError]
    forbidden: tuple[str, int] = ("AccessDeniedException", 400)
    internal: tuple[str, str] = (
        "InternalFailure",
        "The request processing has failed because of an unknown error, exception or failure.",
    )
    bodies: Bodies = Bodies()
    validation: Validation = USUAL_VALIDATION
    addressing: Addressing = Addressing()
    form: WireForm = WireForm()  # noqa: RUF009 (frozen)
    iam_prefix: str = ""
    owner_key: str = ""
    hides_reasons: bool = False
    quotes_resources: bool = False
    hex_request_ids: bool = False


_NO_MATCH = (
    "The request signature we calculated does not match the signature you provided. Check your "
    "AWS Secret Access Key and signing method. Consult the service documentation for details."
)
_INVALID_TOKEN = "The security token included in the request is invalid."  # noqa: S105
_EXPIRED_TOKEN = "The security token included in the request is expired"  # noqa: S105
_REGION = "Credential should be scoped to a valid region. {0}"


def _refusals(
    incomplete: str, mismatch: str, key: str, missing: Refusal, token_expired: str
) -> dict[str, Refusal]:
    """Return the refusals of a family. The first three parameters, and the last, are codes."""
    return {
        "missing": missing,
        "incomplete": (incomplete, 400, "{0}"),
        "incomplete-query": (incomplete, 400, "{0}"),
        "mechanism": (incomplete, 400, "Unsupported AWS 'algorithm': '{0}'."),
        "two": (incomplete, 400, "Only one auth mechanism allowed."),
        "date": (incomplete, 400, "{0}"),
        "old-incomplete": (incomplete, 400, "{0}"),
        "old-expires": (incomplete, 400, "{0}"),
        "key": (key, 403, _INVALID_TOKEN),
        "token": (key, 403, _INVALID_TOKEN),
        "token-expired": (token_expired, 403, _EXPIRED_TOKEN),
        "mismatch": (mismatch, 403, _NO_MATCH),
        "region": (mismatch, 403, _REGION),
        **dict.fromkeys(
            ("scope", "skew", "url-expired", "url-early", "host"), (mismatch, 403, "{0}")
        ),
    }


def _unknown_action(operation: str, method: str, path: str) -> AwsError:
    if not operation:
        return AwsError("MissingAction", "Missing Action", 400)
    return AwsError("InvalidAction", f"Could not find operation {printable(operation)}", 400)


def _unknown_operation(operation: str, method: str, path: str) -> AwsError:
    words = printable(operation) or f"No operation is known at {method} {printable(path)}"
    return AwsError("UnknownOperationException", words, 404)


_STOPPING = "The service is stopping; try again soon."

QUERY = Dialect(
    Signatures(
        _refusals(
            "IncompleteSignature",
            "SignatureDoesNotMatch",
            "InvalidClientTokenId",
            ("MissingAuthenticationToken", 403, "Request is missing Authentication Token"),
            "ExpiredToken",
        )
    ),
    stopping=("ServiceUnavailable", _STOPPING),
    unwritable="ServiceUnavailable",
    unknown=_unknown_action,
    forbidden=("AccessDenied", 403),
)
JSON = Dialect(
    Signatures(
        _refusals(
            "IncompleteSignatureException",
            "InvalidSignatureException",
            "UnrecognizedClientException",
            ("MissingAuthenticationTokenException", 403, "Missing Authentication Token"),
            "ExpiredTokenException",
        )
    ),
    stopping=("ServiceUnavailableException", _STOPPING),
    unwritable="ServiceUnavailableException",
    unknown=_unknown_operation,
)


def of_protocol(wire: str) -> Dialect:
    """Return the family's dialect, for an unknown service. wire: the protocol of the request."""
    return QUERY if wire in ("query", "ec2") else JSON
