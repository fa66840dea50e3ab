"""Event records as S3 was recorded to send them, and what becomes of them on the way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from boda.core.errors import AwsError
from support.recorded import Held, recorded
from support.s3_world import NotingPost, World, failure, run, s3_world

QUEUE = "arn:aws:sqs:us-east-1:000000000000:q"
FUNCTION = "arn:aws:lambda:us-east-1:000000000000:function:f"
TOPIC = "arn:aws:sns:us-east-1:000000000000:t"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    post = NotingPost(reachable={QUEUE, FUNCTION, TOPIC})
    async with s3_world(tmp_path, post=post) as world:
        await run(world.client().create_bucket, Bucket="a-bucket")
        yield world


async def notify(world: World, *events: str, prefix: str = "", suffix: str = "") -> None:
    rules = [{"Name": "prefix", "Value": prefix}, {"Name": "suffix", "Value": suffix}]
    await run(
        world.client().put_bucket_notification_configuration,
        Bucket="a-bucket",
        NotificationConfiguration={
            "QueueConfigurations": [
                {
                    "QueueArn": QUEUE,
                    "Events": list(events),
                    "Filter": {"Key": {"FilterRules": [r for r in rules if r["Value"]]}},
                }
            ]
        },
    )
    assert world.post.taken.pop()[1]["Event"] == "s3:TestEvent"


def hold(case: str, found: list[dict[str, Any]], step: str = "receive_messages") -> None:
    wanted = recorded("s3", "test_s3_notifications_sqs", f"TestS3NotificationsToSQS::{case}")[step]
    wanted = wanted["messages"] if isinstance(wanted, dict) else wanted
    held = Held()
    lines = held.differences(wanted, found)
    assert not lines, "\n".join(lines)


async def test_puts(world: World) -> None:
    client = world.client()
    await notify(world, "s3:ObjectCreated:Put")
    await run(client.put_object, Bucket="a-bucket", Key="my_key_0", Body=b"something")
    await run(client.put_object, Bucket="a-bucket", Key="my_key_1", Body=b"something else")
    hold("test_object_created_put", world.post.records)
    first, second = (r["s3"]["object"]["sequencer"] for r in world.post.records)
    assert first < second and len(first) == len(second)
    target, _, source = world.post.taken[0]
    assert target == QUEUE
    assert (source.arn, source.account, source.principal.arn) == (
        "arn:aws:s3:::a-bucket",
        "000000000000",
        "s3.amazonaws.com",
    )


async def test_keys_are_encoded(world: World) -> None:
    client = world.client()
    await notify(world, "s3:ObjectCreated:*")
    await run(client.put_object, Bucket="a-bucket", Key="a@b", Body=b"something")
    hold("test_key_encoding", world.post.records)
    await run(client.put_object, Bucket="a-bucket", Key="dir/my photo ü+.jpg")
    assert world.post.records[1]["s3"]["object"]["key"] == "dir/my+photo+%C3%BC%2B.jpg"


async def test_copies(world: World) -> None:
    client = world.client()
    await run(client.put_object, Bucket="a-bucket", Key="source", Body=b"something")
    await notify(world, "s3:ObjectCreated:Copy")
    source = {"Bucket": "a-bucket", "Key": "source"}
    await run(client.copy_object, Bucket="a-bucket", Key="target", CopySource=source)
    hold("test_object_created_copy", world.post.records)


async def test_completed_uploads(world: World) -> None:
    client = world.client()
    where = {"Bucket": "a-bucket", "Key": "test-key"}
    await notify(world, "s3:ObjectCreated:*")
    upload = (await run(client.create_multipart_upload, **where))["UploadId"]
    part = await run(client.upload_part, **where, UploadId=upload, PartNumber=1, Body=b"x" * 6144)
    parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    await run(client.complete_multipart_upload, **where, UploadId=upload, MultipartUpload=parts)
    (record,) = world.post.records
    # The recorded object's bytes are not known.
    record["s3"]["object"]["eTag"] = "8eabe9d6b43316e840b079170916c079-1"
    hold("test_object_created_complete_multipart_upload", [record])


async def test_versions_and_markers(world: World) -> None:
    client = world.client()
    where = {"Bucket": "a-bucket", "Key": "test-key"}

    async def versioning(status: str) -> None:
        await run(
            client.put_bucket_versioning,
            Bucket="a-bucket",
            VersioningConfiguration={"Status": status},
        )

    await versioning("Enabled")
    await notify(world, "s3:ObjectCreated:*", "s3:ObjectRemoved:*")
    first = await run(client.put_object, **where, Body=b"data")
    await run(client.put_object, **where, Body=b"data-version2")
    marker = await run(client.delete_object, **where)
    await run(client.delete_object, **where, VersionId=first["VersionId"])
    # Recorded sorted by event, entity tag and size.
    records = world.post.records
    records.sort(key=lambda r: (r["eventName"], r["s3"]["object"].get("eTag", "")))
    step = "message-versioning-active"
    hold("test_object_created_put_versioned", records, step)
    world.post.taken.clear()
    await versioning("Suspended")
    await run(client.put_object, **where, Body=b"data-suspende")
    await run(client.delete_object, **where, VersionId=marker["VersionId"])
    created, removed = world.post.records
    created["s3"]["object"]["eTag"] = "2fb1d4988881168bbcd6432d7593be5a"
    step = "message-versioning-suspended"
    hold("test_object_created_put_versioned", [created, removed], step)


async def test_event_bridge(world: World) -> None:
    client = world.client()
    bus = {"EventBridgeConfiguration": {}}
    put = client.put_bucket_notification_configuration
    world.post.services.discard("events")
    refused = await failure(put, Bucket="a-bucket", NotificationConfiguration=bus)
    assert (refused["status"], refused["Code"]) == (501, "NotImplemented")
    world.post.services.add("events")
    await run(put, Bucket="a-bucket", NotificationConfiguration=bus)
    await run(client.put_object, Bucket="a-bucket", Key="a b", Body=b"data-suspende")
    await run(client.delete_object, Bucket="a-bucket", Key="a b")
    wanted = recorded(
        "s3",
        "test_s3_notifications_eventbridge",
        "TestS3NotificationsToEventBridge::test_object_created_put_versioned",
    )["message-versioning-suspended"]
    events = [event for _, event, _ in world.post.taken]
    events[0]["detail"]["object"]["etag"] = "2fb1d4988881168bbcd6432d7593be5a"
    del wanted[1]["detail"]["object"]["version-id"]
    assert events[0]["detail"]["object"]["key"] == "a b"
    assert Held().differences(wanted, events) == []
    target = "arn:aws:events:us-east-1:000000000000:event-bus/default"
    assert {where for where, _, _ in world.post.taken} == {target}


async def test_filters_pick_by_prefix_suffix_and_event(world: World) -> None:
    client = world.client()
    await notify(world, "s3:ObjectCreated:*", prefix="in/", suffix=".jpg")
    for key in ("in/a.jpg", "in/a.png", "out/a.jpg"):
        await run(client.put_object, Bucket="a-bucket", Key=key)
    await run(client.delete_object, Bucket="a-bucket", Key="in/a.jpg")
    assert [r["s3"]["object"]["key"] for r in world.post.records] == ["in/a.jpg"]


async def test_tags_make_events(world: World) -> None:
    client = world.client()
    where = {"Bucket": "a-bucket", "Key": "k"}
    await run(client.put_object, **where)
    await notify(world, "s3:ObjectTagging:*")
    tags = {"TagSet": [{"Key": "a", "Value": "b"}]}
    await run(client.put_object_tagging, **where, Tagging=tags)
    await run(client.delete_object_tagging, **where)
    names = [(r["eventName"], r["eventVersion"]) for r in world.post.records]
    assert names == [("ObjectTagging:Put", "2.3"), ("ObjectTagging:Delete", "2.3")]


async def test_deletions_of_many_make_one_event_each(world: World) -> None:
    client = world.client()
    for key in ("a", "b"):
        await run(client.put_object, Bucket="a-bucket", Key=key)
    await notify(world, "s3:ObjectRemoved:Delete")
    wanted = {"Objects": [{"Key": key} for key in ("a", "b", "never-there")]}
    await run(client.delete_objects, Bucket="a-bucket", Delete=wanted)
    assert [r["s3"]["object"]["key"] for r in world.post.records] == ["a", "b"]


async def test_lineage_travels_with_the_event(world: World) -> None:
    client = world.client()
    await notify(world, "s3:ObjectCreated:*")
    trace = "Root=1-5759e988-bd862e3fe1be46a994272793;Lineage=1:abcdef01:3"

    def add(request: Any, **_: Any) -> None:
        request.headers["X-Amzn-Trace-Id"] = trace

    client.meta.events.register("before-sign.s3.PutObject", add)
    await run(client.put_object, Bucket="a-bucket", Key="k")
    assert world.post.taken[0][2].trace_id == trace


async def test_an_event_the_post_refuses_for_now_is_kept(tmp_path: Path) -> None:
    post = NotingPost(reachable={QUEUE})
    async with s3_world(tmp_path, post=post) as world:
        client = world.client()
        await run(client.create_bucket, Bucket="a-bucket")
        await notify(world, "s3:ObjectCreated:*")
        post.refuse = [AwsError("ServiceUnavailable", "later", 503)] * 50
        await run(client.put_object, Bucket="a-bucket", Key="k")
        assert post.records == []
    post.refuse = []
    # What was not posted waits on disk for the next start.
    async with s3_world(tmp_path, post=post):
        await _until(lambda: len(post.records) == 1)
    async with s3_world(tmp_path, post=post):
        await asyncio.sleep(0.05)
    assert [r["s3"]["object"]["key"] for r in post.records] == ["k"]


async def test_an_event_for_a_target_that_is_gone_is_dropped(world: World) -> None:
    client = world.client()
    await notify(world, "s3:ObjectCreated:*")
    world.post.refuse = [AwsError("ResourceNotFoundException", "Function not found", 404)]
    await run(client.put_object, Bucket="a-bucket", Key="lost")
    await run(client.put_object, Bucket="a-bucket", Key="k")
    assert [r["s3"]["object"]["key"] for r in world.post.records] == ["k"]


async def test_sequencers_grow_over_restarts_and_deletions(tmp_path: Path) -> None:
    post = NotingPost(reachable={QUEUE})
    seen = []
    for turn in range(3):
        async with s3_world(tmp_path, post=post) as world:
            client = world.client()
            if turn == 0:
                await run(client.create_bucket, Bucket="a-bucket")
                await notify(world, "s3:ObjectCreated:*", "s3:ObjectRemoved:*")
            await run(client.put_object, Bucket="a-bucket", Key="k")
            await run(client.delete_object, Bucket="a-bucket", Key="k")
    seen = [int(r["s3"]["object"]["sequencer"], 16) for r in post.records]
    assert seen == sorted(set(seen)) and len(seen) == 6


async def test_configurations_are_checked(world: World) -> None:
    client = world.client()

    async def code(*rules: dict[str, Any], **more: Any) -> str:
        config = {"QueueConfigurations": [{"QueueArn": QUEUE, **rule} for rule in rules], **more}
        put = client.put_bucket_notification_configuration
        found = await failure(put, Bucket="a-bucket", NotificationConfiguration=config)
        return f"{found['Code']}: {found['Message']}"

    def rule(*events: str, **filters: str) -> dict[str, Any]:
        rules = [{"Name": name, "Value": value} for name, value in filters.items()]
        return {"Events": list(events), "Filter": {"Key": {"FilterRules": rules}}}

    put, every = "s3:ObjectCreated:Put", "s3:ObjectCreated:*"
    assert "is not supported" in await code(rule("s3:ObjectCreated:Wish"))
    assert "either prefix or suffix" in await code(rule(put, infix="x"))
    assert "Configurations overlap" in await code(rule(put), rule(every))
    assert "overlapping suffixes" in await code(rule(put, prefix="a"), rule(every, prefix="ab"))
    assert "Same ID" in await code(
        {**rule(put), "Id": "1"}, {**rule("s3:ObjectAcl:Put"), "Id": "1"}
    )
    elsewhere = "arn:aws:sqs:eu-west-1:000000000000:q"
    world.post.reachable.add(elsewhere)
    assert "Unable to validate" in await code({**rule(put), "QueueArn": elsewhere})
    found = await run(client.get_bucket_notification_configuration, Bucket="a-bucket")
    assert found == {"status": 200}


async def _until(done: Any) -> None:
    for _ in range(200):
        if done():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it did not happen")
