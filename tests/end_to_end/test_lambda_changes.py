"""Changes under a running platform: updates while calls run, versions, aliases, layers."""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from bench.host import Boda

from support.lambda_world import package

# The number is in the code, in a module beside it, and in the settings; a call that mixed them
# would say so. The sleep lets calls be in flight while an update is answered.
NUMBERED = """
import os, time
import beside

def lambda_handler(event, context):
    before = NUMBER
    time.sleep(event.get("sleep", 0))
    return {"code": before, "beside": beside.NUMBER, "settings": int(os.environ["NUMBER"])}

NUMBER = %d
"""


def numbered(number: int) -> bytes:
    return package({"lambda_function.py": NUMBERED % number, "beside.py": f"NUMBER = {number}\n"})


def zipped(**files: str) -> bytes:
    return package({name.replace("__", "/") + ".py": text for name, text in files.items()})


def make(boda: Boda, name: str, content: bytes, **settings: Any) -> None:
    aws = boda.client("lambda")
    aws.create_function(
        FunctionName=name,
        Runtime=boda.runtime(),
        Role=boda.role(),
        Handler="lambda_function.lambda_handler",
        Code={"ZipFile": content},
        **settings,
    )
    wait(aws, "function_active_v2", FunctionName=name)


def wait(aws: Any, waiter: str, **params: Any) -> None:
    settings = {"Delay": 0.03, "MaxAttempts": 300}
    aws.get_waiter(waiter).wait(**params, WaiterConfig=settings)


def call(aws: Any, name: str, event: Any = None, **settings: Any) -> Any:
    answer = aws.invoke(FunctionName=name, Payload=json.dumps(event or {}), **settings)
    content = json.loads(answer["Payload"].read())
    assert "FunctionError" not in answer, content
    return content


def test_calls_run_one_build_and_the_new_one_from_the_updates_answer_on(
    boda: Boda, name: str
) -> None:
    make(boda, name, numbered(0), Environment={"Variables": {"NUMBER": "0"}})
    answered = 0  # the newest build whose update has been answered
    started = 0  # the newest build whose update has been sent
    done = threading.Event()
    seen: list[tuple[int, int, int]] = []

    def caller(at: int) -> None:
        aws = boda.client("lambda")
        while not done.is_set():
            least = answered
            content = call(aws, name, {"sleep": 0.004 * at})
            assert content["code"] == content["beside"], content
            seen.append((least, content["code"], started))

    aws = boda.client("lambda")
    updates = 12
    with ThreadPoolExecutor(5) as pool:
        callers = [pool.submit(caller, at) for at in range(5)]
        try:
            for number in range(1, updates + 1):
                started = number
                aws.update_function_code(FunctionName=name, ZipFile=numbered(number))
                answered = number
                wait(aws, "function_updated_v2", FunctionName=name)
                limit = time.monotonic() + 10
                while not any(code == number for _, code, _ in seen[-200:]):
                    assert time.monotonic() < limit, f"build {number} was never run"
                    time.sleep(0.01)
            while len(seen) < 300 and not any(one.done() for one in callers):
                time.sleep(0.01)
        finally:
            done.set()
        for one in callers:
            one.result()
    assert all(least <= code <= most for least, code, most in seen)


def test_settings_and_code_change_together_or_not_at_all(boda: Boda, name: str) -> None:
    make(boda, name, numbered(1), Environment={"Variables": {"NUMBER": "1"}})
    aws = boda.client("lambda")
    with ThreadPoolExecutor(2) as pool:
        long = pool.submit(call, boda.client("lambda"), name, {"sleep": 1.0})
        time.sleep(0.4)
        aws.update_function_configuration(
            FunctionName=name, Environment={"Variables": {"NUMBER": "2"}}
        )
        assert call(aws, name) == {"code": 1, "beside": 1, "settings": 2}
        assert long.result() == {"code": 1, "beside": 1, "settings": 1}


def test_versions_and_aliases_run_what_they_name(boda: Boda, name: str) -> None:
    make(boda, name, numbered(1), Environment={"Variables": {"NUMBER": "1"}})
    aws = boda.client("lambda")
    first = aws.publish_version(FunctionName=name)["Version"]
    second = aws.update_function_code(FunctionName=name, ZipFile=numbered(2), Publish=True)[
        "Version"
    ]
    wait(aws, "published_version_active", FunctionName=name, Qualifier=second)
    aws.create_alias(FunctionName=name, Name="live", FunctionVersion=first)
    assert [call(aws, name, Qualifier=q)["code"] for q in (first, second, "live", "$LATEST")] == [
        1,
        2,
        1,
        2,
    ]
    aws.update_alias(
        FunctionName=name,
        Name="live",
        RoutingConfig={"AdditionalVersionWeights": {second: 0.5}},
    )
    executed: dict[str, int] = {first: 0, second: 0}
    for _ in range(80):
        answer = aws.invoke(FunctionName=f"{name}:live", Payload=b"{}")
        content = json.loads(answer["Payload"].read())
        assert str(content["code"]) == answer["ExecutedVersion"]
        executed[answer["ExecutedVersion"]] += 1
    assert min(executed.values()) > 10, executed  # less than this comes once in 10^12
    streams = boda.client("logs").describe_log_streams(logGroupName=f"/aws/lambda/{name}")
    named = {
        stream["logStreamName"].split("[")[1].split("]")[0] for stream in streams["logStreams"]
    }
    assert named == {first, second, "$LATEST"}


def test_a_function_imports_from_its_layers_the_later_over_the_earlier(
    boda: Boda, name: str
) -> None:
    aws = boda.client("lambda")

    def layer(suffix: str, **files: str) -> dict[str, Any]:
        answer = aws.publish_layer_version(
            LayerName=f"{name}-{suffix}", Content={"ZipFile": zipped(**files)}
        )
        return dict(answer)

    one = layer("one", python__shared="WHO = 'one'", python__only_one="WHO = 'only'")
    two = layer("two", python__shared="WHO = 'two'", etc__settings="from the layer")
    code = (
        "import shared, only_one\n"
        "def lambda_handler(event, context):\n"
        "    text = open('/opt/etc/settings.py').read()\n"
        "    return [shared.WHO, only_one.WHO, text]\n"
    )
    arns = [one["LayerVersionArn"], two["LayerVersionArn"]]
    make(boda, name, zipped(lambda_function=code), Layers=arns)
    assert call(aws, name) == ["two", "only", "from the layer"]
    for arn in arns:  # deleted versions go on working, in new environments too
        layer_name, number = arn.split(":")[6:]
        aws.delete_layer_version(LayerName=layer_name, VersionNumber=int(number))
    aws.update_function_configuration(FunctionName=name, Description="another environment")
    assert call(aws, name) == ["two", "only", "from the layer"]
