"""Which operation a request means."""

from __future__ import annotations

import pytest

from boda.gateway.calling.absent import AbsentServices
from boda.gateway.calling.models import Models
from boda.gateway.calling.paths import PathTable
from boda.gateway.calling.routing import Router
from boda.gateway.http.wire import WireRequest
from boda.services.absent import LACKING
from boda.services.s3.hosts import bucket_of_host
from support.dialects import DIALECTS

SERVICES = ("apigateway", "apigatewayv2", "cloudwatch", "iam", "lambda", "logs", "s3", "sts")


@pytest.fixture(scope="module")
def models() -> Models:
    return Models(dialects=DIALECTS)


@pytest.fixture(scope="module")
def router(models: Models) -> Router:
    return Router(
        ((models.service(name), [], models.dialect(name).addressing) for name in SERVICES), LACKING
    )


def request(method: str = "GET", target: str = "/", host: str = "localhost:4566",
            **headers: str) -> WireRequest:  # fmt: skip
    path, _, query = target.partition("?")
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return WireRequest(method, path, query, named, b"", host)


@pytest.mark.parametrize("service", ["s3", "lambda", "scheduler", "apigateway", "apigatewayv2"])
def test_every_operation_is_found_by_its_own_request(models: Models, service: str) -> None:
    """But for those of S3 that another, newer one replaces under the same path."""
    model = models.service(service)
    table = PathTable(model, trailing_slash=service != "s3")
    missed = []
    for name in model.operation_names:
        operation = model.operation_model(name)
        path, _, fixed = operation.http["requestUri"].partition("?")
        segments = ["some-value" if one.startswith("{") else one for one in path.split("/")]
        query, headers = [fixed] if fixed else [], {}
        shape = operation.input_shape
        for member in shape.required_members if shape is not None else ():
            where = shape.members[member].serialization
            if where.get("location") == "querystring":
                query.append(f"{where['name']}=1")
            elif where.get("location") == "header":
                headers[where["name"].lower()] = "1"
        found = table.match(operation.http["method"], "/".join(segments), "&".join(query), headers)
        if found is None or found[0] != name:
            missed.append(name)
    assert missed == (
        [
            "GetBucketLifecycle",
            "GetBucketNotification",
            "ListDirectoryBuckets",
            "PutBucketLifecycle",
            "PutBucketNotification",
        ]
        if service == "s3"
        else []
    )


@pytest.mark.parametrize(
    ("method", "target", "headers", "operation", "labels"),
    [
        ("GET", "/", {}, "ListBuckets", {}),
        ("GET", "/b", {}, "ListObjects", {"Bucket": "b"}),
        ("GET", "/b/", {}, "ListObjects", {"Bucket": "b"}),
        ("GET", "/b?list-type=2&prefix=k", {}, "ListObjectsV2", {"Bucket": "b"}),
        ("GET", "/b?unheard-of", {}, "ListObjects", {"Bucket": "b"}),
        ("GET", "/b/k/", {}, "GetObject", {"Bucket": "b", "Key": "k/"}),
        ("GET", "/b//x", {}, "GetObject", {"Bucket": "b", "Key": "/x"}),
        ("GET", "/b/../x", {}, "GetObject", {"Bucket": "b", "Key": "../x"}),
        ("GET", "/b/a%2Fb", {}, "GetObject", {"Bucket": "b", "Key": "a%2Fb"}),
        ("PUT", "/b/k?uploadId=1", {}, "PutObject", {"Bucket": "b", "Key": "k"}),
        ("PUT", "/b/k?uploadId=1&partNumber=2", {}, "UploadPart", {"Bucket": "b", "Key": "k"}),
        ("PUT", "/b/k", {"x_amz_copy_source": "/c/k"}, "CopyObject", {"Bucket": "b", "Key": "k"}),
        ("GET", "/b?inventory", {}, "ListBucketInventoryConfigurations", {"Bucket": "b"}),
        ("GET", "/b?inventory&id=1", {}, "GetBucketInventoryConfiguration", {"Bucket": "b"}),
        ("GET", "/b?notification", {}, "GetBucketNotificationConfiguration", {"Bucket": "b"}),
        ("POST", "/b", {}, "", {}),
    ],
)  # fmt: skip
def test_s3(router: Router, method: str, target: str, headers: dict[str, str], operation: str,
            labels: dict[str, str]) -> None:  # fmt: skip
    route = router.route(request(method, target, **headers), "s3")
    assert (route.service, route.operation, route.labels) == ("s3", operation, labels)


@pytest.mark.parametrize(
    ("host", "bucket"),
    [
        ("localhost:4566", ""),
        ("127.0.0.1:4566", ""),
        ("[::1]:4566", ""),
        ("s3.localhost:4566", ""),
        ("s3.eu-west-1.localhost", ""),
        ("photos.s3.localhost:4566", "photos"),
        ("my.photos.s3.localhost", "my.photos"),
        ("photos.s3.eu-west-1.localhost:4566", "photos"),
        ("photos.localhost:4566", "photos"),
        ("photos.s3.amazonaws.com", "photos"),
        ("photos.s3-eu-west-1.amazonaws.com", "photos"),
        ("s3-eu-west-1.amazonaws.com", ""),
        ("boda.example.org", ""),
    ],
)
def test_buckets_by_host(router: Router, host: str, bucket: str) -> None:
    route = router.route(request("GET", "/k/l", host), "s3")
    assert route.label("Bucket") == (bucket or "k")
    assert route.label("Key") == ("k/l" if bucket else "l")
    listing = router.route(request("GET", "/", host), None)
    assert listing.operation == ("ListObjects" if bucket else "ListBuckets")


@pytest.mark.parametrize(
    ("target", "operation"),
    [
        ("/2015-03-31/functions/", "ListFunctions"),
        ("/2015-03-31/functions", "ListFunctions"),
        ("/2015-03-31/functions/arn%3Aaws%3Alambda", "GetFunction"),
        ("/2019-09-30/functions/f/provisioned-concurrency", "GetProvisionedConcurrencyConfig"),
        (
            "/2019-09-30/functions/f/provisioned-concurrency?List=ALL",
            "ListProvisionedConcurrencyConfigs",
        ),
        ("/2018-10-31/layers?find=LayerVersion&Arn=a", "GetLayerVersionByArn"),
        ("/2018-10-31/layers", "ListLayers"),
        ("/2015-03-31/functions//policy", ""),
        ("/nowhere", ""),
    ],
)
def test_lambda(router: Router, target: str, operation: str) -> None:
    assert router.route(request("GET", target), "lambda").operation == operation


def test_by_target_and_rpc_path(router: Router) -> None:
    by_target = request("POST", "/", x_amz_target="Logs_20140328.PutLogEvents")
    for scope in ("logs", None):
        route = router.route(by_target, scope)
        assert (route.service, route.operation, route.wire) == ("logs", "PutLogEvents", "json")
    rpc = request(
        "POST",
        "/service/GraniteServiceVersion20100801/operation/ListMetrics",
        smithy_protocol="rpc-v2-cbor",
    )
    for scope in ("monitoring", None):
        route = router.route(rpc, scope)
        assert (route.service, route.operation) == ("cloudwatch", "ListMetrics")
        assert route.wire == "smithy-rpc-v2-cbor"


def test_older_clients_of_a_service_that_moved(router: Router) -> None:
    form = request("POST", "/", content_type="application/x-www-form-urlencoded; charset=utf-8")
    route = router.route(form, "monitoring")
    assert (route.service, route.wire, route.action_in_body) == ("cloudwatch", "query", True)


def test_services_that_share_a_signing_name(router: Router) -> None:
    assert router.route(request("GET", "/v2/apis"), "apigateway").service == "apigatewayv2"
    assert router.route(request("GET", "/restapis"), "apigateway").service == "apigateway"


def test_actions_of_the_query_protocol(router: Router) -> None:
    form = "application/x-www-form-urlencoded"
    route = router.route(request("POST", "/", content_type=form), "iam")
    assert route.action_in_body
    assert router.action("iam", b"Action=ListUsers&Version=2010-05-08", "") == ("iam", "ListUsers")
    assert router.action("iam", b"", "Action=GetUser") == ("iam", "GetUser")
    unsigned = router.route(request("POST", "/", content_type=form), None)
    assert (unsigned.service, unsigned.action_in_body) == ("", True)
    assert router.action("", b"Action=GetCallerIdentity&Version=2011-06-15", "") == (
        "sts",
        "GetCallerIdentity",
    )
    assert router.action("", b"Action=NoSuchThing", "") == ("", "NoSuchThing")
    assert router.action("", b"\xff\xfe=1&&&=", "") == ("", "")


def test_unsigned_requests(router: Router) -> None:
    assert router.route(request("GET", "/2015-03-31/functions"), None).service == "lambda"
    assert router.route(request("GET", "/bucket/key"), None).operation == "GetObject"
    assert router.route(request("POST", "/", "sts.localhost:4566"), None).service == "sts"


def test_services_that_are_not_here(router: Router) -> None:
    route = router.route(request("POST", "/", x_amz_target="DynamoDB_20120810.Scan"), "dynamodb")
    assert (route.service, route.absent, route.operation) == ("", "dynamodb", "Scan")
    route = router.route(request("GET", "/schedules"), "scheduler")
    assert (route.service, route.absent, route.operation) == ("", "scheduler", "")
    route = router.route(request("GET", "/2013-04-01/hostedzone"), "route53")
    assert (route.absent, route.wire) == ("route53", "rest-xml")
    account = request("GET", "/v20180820/accesspoint", x_amz_account_id="000000000000")
    assert router.route(account, "s3").absent == "s3control"
    bucket = router.route(request("GET", "/v20180820/accesspoint"), "s3")
    assert (bucket.service, bucket.operation) == ("s3", "GetObject")


@pytest.mark.parametrize(
    ("name", "method", "path", "operation"),
    [
        ("scheduler", "GET", "/schedules", "ListSchedules"),
        ("execute-api", "POST", "/@connections/abc", "PostToConnection"),
        ("scheduler", "GET", "/nowhere", ""),
        ("access-analyzer", "PUT", "/archive-rule", "ApplyArchiveRule"),
        ("bedrock", "POST", "/model/a/converse", "Converse"),
        ("s3control", "GET", "/v20180820/accesspoint", "ListAccessPoints"),
        ("no-such-service", "GET", "/", ""),
        ("../../etc", "GET", "/", ""),
    ],
)
async def test_names_of_absent_operations(
    name: str, method: str, path: str, operation: str
) -> None:
    assert await AbsentServices(LACKING).operation(name, method, path, "", {}) == operation


@pytest.mark.parametrize(
    ("host", "bucket"),
    [
        ("photos.s3.localhost:4566", "photos"),
        ("photos.localhost", "photos"),
        ("photos.s3.localhost.localstack.cloud:4566", "photos"),
        ("photos.localhost.localstack.cloud", "photos"),
        ("a.b.s3.eu-west-1.localhost.localstack.cloud", "a.b"),
        ("photos.s3.boda.factory.example", "photos"),
        ("a.b.s3.eu-west-1.boda.example:80", "a.b"),
        ("localhost.localstack.cloud", ""),
        ("s3.localhost.localstack.cloud", ""),
        ("s3.boda.example", ""),
        ("boda.example", ""),
        ("127.0.0.1:4566", ""),
        ("[::1]:4566", ""),
    ],
)
def test_a_hosts_bucket_whatever_the_suffix(host: str, bucket: str) -> None:
    assert bucket_of_host(host) == bucket
