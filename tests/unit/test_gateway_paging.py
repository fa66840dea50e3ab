"""Pages of listings, and tokens that are good for one call only."""

from __future__ import annotations

import base64
import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from boda import services
from boda.core.clock import ManualClock
from boda.core.errors import AwsError
from boda.core.principal import root_of
from boda.gateway.calling.operation import Answer, Context
from boda.gateway.calling.pager import Pager, Seal
from boda.gateway.calling.paging import PAGED, Key, Page, Paged, Paging, RowList, Walk
from support.world import models

MODELS = models()
SERVICES = services.__path__
KEY = b"k" * 32
NAMES = [f"n{number}" for number in range(5)]


def refused(name: str, token: str) -> AwsError:
    return AwsError("BadToken", f"{name}={token}")


def pager(
    service: str,
    operation: str,
    paged: Paged = PAGED,
    *,
    seal: Seal | None = None,
    size: int = 100,
    most: int | None = None,
) -> Pager:
    model = MODELS.service(service).operation_model(operation)
    paging = Paging(refused, size, most)
    seal = seal or Seal(KEY, ManualClock())
    return Pager(model, MODELS.paginator(service, operation), paging, paged, seal)


def context(service: str = "iam", operation: str = "ListUsers", **more: str) -> Context:
    return Context(
        service,
        operation,
        more.get("region", "us-east-1"),
        more.get("account", "000000000000"),
        root_of(),
        "id",
        lambda need: None,
    )


async def walk(
    cut: Callable[[Mapping[str, Any]], Any], token: str, following: str, rows: str
) -> list[Any]:
    """The rows of each page, until there is no further token."""
    pages, params = [], {}
    while True:
        answer = await cut(params)
        pages.append(list(answer.output[rows]))
        if following not in answer.output:
            return pages
        params = {token: answer.output[following]}


async def test_pages_show_every_row_once() -> None:
    users = pager("iam", "ListUsers", size=2)
    rows = RowList.ordering(reversed(NAMES), str, str.upper)
    pages = await walk(lambda more: users.cut(context(), more, rows), "Marker", "Marker", "Users")
    assert pages == [["N0", "N1"], ["N2", "N3"], ["N4"]]
    whole = await users.cut(context(), {"MaxItems": 5}, rows)
    assert whole.output == {"Users": [name.upper() for name in NAMES], "IsTruncated": False}


async def test_a_page_goes_on_behind_a_row_that_is_gone() -> None:
    users = pager("iam", "ListUsers")
    first = await users.cut(context(), {"MaxItems": 2}, RowList(NAMES, str))
    assert first.output["IsTruncated"] is True
    left = [name for name in NAMES if name != "n1"]
    rest = await users.cut(context(), {"Marker": first.output["Marker"]}, RowList(left, str))
    assert rest.output["Users"] == ["n2", "n3", "n4"]


async def test_an_empty_listing_has_an_empty_page() -> None:
    functions = pager("lambda", "ListFunctions")
    answer = await functions.cut(context(), {"MaxItems": 1}, RowList([], str))
    assert answer.output == {"Functions": []}


async def test_a_service_bounds_its_pages() -> None:
    functions = pager("lambda", "ListFunctions", size=2, most=3)
    for asked, count in (({}, 2), ({"MaxItems": 1}, 1), ({"MaxItems": 10_000}, 3)):
        answer = await functions.cut(context(), asked, RowList(NAMES, str))
        assert len(answer.output["Functions"]) == count
    own = pager("lambda", "ListFunctions", Paged(size=4, most=5), size=2, most=3)
    assert len((await own.cut(context(), {}, RowList(NAMES, str))).output["Functions"]) == 4


async def test_a_token_is_good_for_its_call_only() -> None:
    listed = {"PathPrefix": "/a/", "MaxItems": 2}
    rows = RowList(NAMES, str)
    clock = ManualClock()
    users = pager("iam", "ListUsers", seal=Seal(KEY, clock))
    token = (await users.cut(context(), listed, rows)).output["Marker"]

    async def rest(
        cutter: Pager = users, ctx: Context | None = None, **params: Any
    ) -> list[str] | str:
        try:
            answer = await cutter.cut(ctx or context(), {"Marker": token, **params}, rows)
        except AwsError as error:
            return error.code
        return list(answer.output[cutter._results[0]])

    assert await rest(PathPrefix="/a/") == ["n2", "n3", "n4"]
    assert await rest(PathPrefix="/a/", MaxItems=1) == ["n2"]  # pages may differ in length
    assert await rest() == await rest(PathPrefix="/b/") == "BadToken"
    for other in (
        context(account="111111111111"),
        context(region="eu-west-1"),
        context(operation="ListRoles"),
        context(service="lambda"),
    ):
        assert await rest(ctx=other, PathPrefix="/a/") == "BadToken"
    for other_key in (b"", b"other"):
        stranger = pager("iam", "ListUsers", seal=Seal(other_key, clock))
        assert await rest(stranger, PathPrefix="/a/") == "BadToken"
    await clock.advance(24 * 3600)
    assert await rest(PathPrefix="/a/") == ["n2", "n3", "n4"]
    await clock.advance(2)
    assert await rest(PathPrefix="/a/") == "BadToken"


@pytest.mark.parametrize(
    "forged",
    [
        "x",
        "é",
        "n1",
        "!" * 40,
        "A" * 9000,
        base64.urlsafe_b64encode(b'\x01\0\0\0\0"n1"').decode(),
        base64.urlsafe_b64encode(b"\x01" + b"\0" * 20 + b'"n1"').decode(),
    ],
)
async def test_forged_tokens_are_refused_in_the_words_of_the_service(forged: str) -> None:
    users = pager("iam", "ListUsers")
    with pytest.raises(AwsError) as caught:
        await users.cut(context(), {"Marker": forged}, RowList(NAMES, str))
    assert (caught.value.code, caught.value.message) == ("BadToken", f"Marker={forged}")


async def test_no_byte_of_a_token_can_be_changed() -> None:
    users = pager("iam", "ListUsers")
    token = (await users.cut(context(), {"MaxItems": 1}, RowList(NAMES, str))).output["Marker"]
    sealed = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    for at in range(len(sealed)):
        changed = bytearray(sealed)
        changed[at] ^= 1
        forged = base64.urlsafe_b64encode(changed).decode()
        with pytest.raises(AwsError):
            await users.cut(context(), {"Marker": forged}, RowList(NAMES, str))


async def test_parameters_that_list_the_same_may_change() -> None:
    paged = Paged(free=frozenset({"startFromHead"}))
    events = pager("logs", "FilterLogEvents", paged)

    async def listing(key: Key, limit: int) -> Page:
        return Page([("events", [key, limit])], [True, "é\ud800"])

    asked = {"logGroupName": "g", "startFromHead": False}
    first = await events.cut(context(), asked, listing)
    again = {"logGroupName": "g", "limit": 7, "nextToken": first.output["nextToken"]}
    rest = await events.cut(context(), again, listing)
    assert rest.output["events"] == [[[True, "é\ud800"], 7]]
    assert rest.output["searchedLogStreams"] == []


async def test_an_empty_token_begins_at_the_beginning() -> None:
    functions = pager("lambda", "ListFunctions")
    answer = await functions.cut(context(), {"Marker": ""}, RowList(NAMES, str))
    assert answer.output["Functions"] == NAMES


async def test_readable_tokens_are_the_operations_own() -> None:
    functions = pager("lambda", "ListFunctions", Paged(readable=True), size=2)
    assert functions.honoured == {"MaxItems"}

    async def cut(params: Mapping[str, Any]) -> Answer:
        begin = NAMES.index(params.get("Marker", "n0"))
        return await functions.cut(context(), params, Walk(NAMES[begin:], str, str.upper))

    pages = await walk(cut, "Marker", "NextMarker", "Functions")
    assert pages == [["N0", "N1"], ["N2", "N3"], ["N4"]]


async def test_tokens_of_several_members_and_rows_of_several_lists() -> None:
    versions = pager("s3", "ListObjectVersions", Paged(readable=True), most=3)
    following = {"NextKeyMarker": "b", "NextVersionIdMarker": "2"}

    async def listing(key: Key, limit: int) -> Page:
        rows = [("Versions", "a"), ("CommonPrefixes", "c/"), ("Versions", "b")]
        return Page(rows[:limit], following if limit else None, {"Name": "bucket"})

    answer = Answer({"Prefix": ""}, headers={"x": "y"}, listing=listing)
    cut = await versions.cut(context(), {"MaxKeys": 1000}, answer)
    assert cut.headers == {"x": "y"}
    assert cut.output == {
        "Prefix": "",
        "Name": "bucket",
        "MaxKeys": 3,
        "IsTruncated": True,
        "Versions": ["a", "b"],
        "DeleteMarkers": [],
        "CommonPrefixes": ["c/"],
        **following,
    }
    nothing = await versions.cut(context(), {"MaxKeys": 0}, answer)
    assert (nothing.output["Versions"], nothing.output["IsTruncated"]) == ([], False)


def test_what_cannot_be_paged_is_refused_when_it_is_installed() -> None:
    with pytest.raises(ValueError, match="no paginator"):
        pager("logs", "ListLogGroups")
    like = {"input_token": "nextToken", "output_token": "nextToken", "result_key": "logGroups"}
    assert pager("logs", "ListLogGroups", Paged(paginator=like)).honoured == {"nextToken"}
    with pytest.raises(ValueError, match="form"):
        pager("s3", "ListObjectVersions")
    with pytest.raises(ValueError, match="form"):
        pager("logs", "ListLogGroups", Paged(paginator={**like, "result_key": "groups"}))


def _operations(package: str) -> Iterator[tuple[str, Paged | None]]:
    """The operations of a service, each with how it pages."""
    folder = importlib.import_module(package)
    names = [found.name for found in pkgutil.walk_packages(folder.__path__, f"{package}.")]
    for module in map(importlib.import_module, [package, *names]):
        for _, group in inspect.getmembers(module, inspect.isclass):
            for _, method in inspect.getmembers(group, inspect.isfunction):
                if hasattr(method, "__boda_operation__"):
                    name, _, paged = method.__boda_operation__
                    yield name, paged


@pytest.mark.parametrize(
    "package", [found.name for found in pkgutil.iter_modules(SERVICES) if found.ispkg]
)
def test_what_botocore_pages_is_cut_by_the_gateway(package: str) -> None:
    service = {"lambda_": "lambda", "platform": "boda"}.get(package, package)
    found = dict(_operations(f"boda.services.{package}"))
    assert found
    for name, paged in found.items():
        assert paged is not None or MODELS.paginator(service, name) is None, name
        if paged is not None:
            pager(service, name, paged)


async def test_an_operation_that_returns_no_listing_is_a_fault() -> None:
    with pytest.raises(TypeError):
        await pager("iam", "ListUsers").cut(context(), {}, {"Users": []})
