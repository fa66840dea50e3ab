"""The recorded conversations with the Lambda API, held again with boto3 over HTTP.

Each answer must be the recorded one, member for member. What differs stands in
``lambda_differences.toml`` with its reason: a difference that does not stand there fails, and so
does one that stands there and is no more.
"""

from __future__ import annotations

import asyncio
import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from boda.core.clock import SystemClock
from support.golden import cases
from support.lambda_world import world
from support.transcripts import Matcher, Talk, paged, shaped, transcripts
from support.world import client, served

LISTED = tomllib.loads((Path(__file__).parent / "lambda_differences.toml").read_text())


def conversations() -> list[Any]:
    return [pytest.param(case, id=case["name"]) for case in transcripts()]


def listed(name: str) -> dict[str, str]:
    """The differences of a conversation, ``step/place``, with their reasons."""
    return {
        f"{entry['step']}{entry['place']}": entry["reason"]
        for entry in LISTED["difference"]
        if name in entry["cases"]
    }


def test_there_are_conversations_to_hold() -> None:
    names = {case["name"] for case in transcripts()}
    assert len(names) > 100
    for entry in LISTED["difference"]:
        assert set(entry["cases"]) <= names
        assert len(entry["reason"]) > 20


@pytest.mark.parametrize("case", cases(conversations))
async def test_a_recorded_conversation(case: dict[str, Any], tmp_path: Path) -> None:
    found = await differences(case["steps"], tmp_path)
    places = {line.partition(": ")[0] for line in found}
    expected = listed(case["name"])
    fresh = [line for line in found if line.partition(": ")[0] not in expected]
    assert not fresh, "\n".join(fresh)
    assert not expected.keys() - places, "no difference any more"


async def differences(steps: list[dict[str, Any]], folder: Path) -> list[str]:
    """Hold a conversation; one line per place in an answer that is not as recorded."""
    matcher, found = Matcher(), []
    async with (
        world(folder, clock=SystemClock()) as here,
        served(here.gateway) as endpoint,
    ):
        talk = Talk(
            client("lambda", endpoint, here.key),
            client("lambda", endpoint, here.key, parameter_validation=False),
            here.objects,
        )
        answers: list[Any] = []
        for at, step in enumerate(steps):
            if "call" in step:
                follows = steps[at + 1] if at + 1 < len(steps) else {}
                wanted = follows.get("response")
                # Waiters are recorded as the one call whose answer they waited for; what is
                # expected after one may be the answer of the create or update before it.
                get = step["call"] == "lambda.GetFunction"
                before = get and at and "call" in steps[at - 1] and not _of_get(wanted)
                moving = not before and re.search("InProgress|Pending", json.dumps(wanted))
                answer = await asyncio.to_thread(
                    talk.call, step["call"], step["params"], wanted, get and not moving
                )
                if not (before and "expect" in follows):
                    answers.append(answer)
                continue
            expected = step["response"]
            if isinstance(expected, bool | int):
                continue  # what somebody made of several answers
            if isinstance(expected, dict) and "Error" in expected and "Error" not in answers[-1]:
                # The same call twice in a row is recorded once.
                again = steps[at - 1]
                if "call" in again:
                    answers.append(
                        await asyncio.to_thread(
                            talk.call, again["call"], again["params"], expected, False
                        )
                    )
            answer = shaped(expected, paged(expected, answers))
            found += [f"{step['expect']}{line}" for line in matcher.differences(expected, answer)]
    return found


def _of_get(expected: Any) -> bool:
    """Whether an expected answer is GetFunction's own."""
    return isinstance(expected, dict) and ("Configuration" in expected or "Error" in expected)
