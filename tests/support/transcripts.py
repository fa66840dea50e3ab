"""Recorded conversations with the Lambda API, held again with boto3, and how answers differ."""

from __future__ import annotations

import json
import re
import time
from typing import Any

import botocore
from botocore.exceptions import ClientError, ParamValidationError

from support.golden import golden
from support.lambda_world import package

ANY = {"date", "datetime", "timestamp", "<code-size>", "<location>", "lambda-url"}
"""What stands for whatever there is."""

_TOKEN = r"<[a-z0-9:()_-]+>"
_UUID = re.compile(r"[0-9a-f-]{36}")
_SHA256 = re.compile(r"[A-Za-z0-9+/]{43}=")


def transcripts() -> list[dict[str, Any]]:
    """Every conversation: ``name``, and ``steps`` of calls and expected answers."""
    found = []
    for line in golden("transcripts/lambda_api.jsonl").read_text().splitlines():
        case = json.loads(line)
        found.append({"name": case["case"].split("::", 1)[1], "steps": case["steps"]})
    return found


class Matcher:
    """Compares answers with recordings. A placeholder stands for one value throughout."""

    def __init__(self) -> None:
        self.meant: dict[str, str] = {}

    def differences(self, expected: Any, actual: Any, path: str = "") -> list[str]:
        """One sentence per place that differs, beginning with the place."""
        if isinstance(expected, str) and expected in ANY:
            return [] if actual is not None else [f"{path}: absent"]
        if isinstance(expected, dict):
            if not isinstance(actual, dict):
                return [f"{path}: {actual!r} instead of {expected!r}"]
            found = []
            for key in sorted(expected.keys() | actual.keys()):
                here = f"{path}/{key}"
                if key not in actual:
                    found.append(f"{here}: absent, recorded {expected[key]!r}")
                elif key not in expected:
                    found.append(f"{here}: {actual[key]!r}, recorded absent")
                else:
                    found += self.differences(expected[key], actual[key], here)
            return found
        if isinstance(expected, list):
            if not isinstance(actual, list) or len(expected) != len(actual):
                return [f"{path}: {actual!r} instead of {expected!r}"]
            return [
                line
                for number, (one, other) in enumerate(zip(expected, actual, strict=True))
                for line in self.differences(one, other, f"{path}/{number}")
            ]
        if isinstance(expected, str):
            same = self._text(expected, actual)
        elif expected is None and path.endswith("/Message"):
            same = not actual  # a sentence that is null, and one that is absent
        else:
            same = expected == actual
        return [] if same else [f"{path}: {actual!r} instead of {expected!r}"]

    def _text(self, expected: str, actual: Any) -> bool:
        if not isinstance(actual, str):
            return False
        actual = _neutral(actual)
        pattern, names = "", []
        for part in re.split(f"({_TOKEN})", expected):
            if re.fullmatch(_TOKEN, part) and part not in actual:
                pattern += "(.+)"
                names.append(part)
            else:
                pattern += re.escape(part)
        found = re.fullmatch(pattern, actual, re.S)
        if found is None:
            return False
        return all(
            ":" not in name
            or name == "<code-sha256:1>"  # several packages are recorded under this one name
            or self.meant.setdefault(name, value) == value
            for name, value in zip(names, found.groups(), strict=True)
        )


def _neutral(text: str) -> str:
    text = text.replace("000000000000", "111111111111").replace("arn:aws:", "arn:<partition>:")
    return text.replace("us-east-1", "<region>")


class Talk:
    """Makes recorded calls. aws: a Lambda client; careless: one that checks no parameters;
    objects: what stands for S3."""

    def __init__(self, aws: Any, careless: Any, objects: Any) -> None:
        self.aws = aws
        self.careless = careless
        self.objects = objects
        self._made: dict[str, str] = {}

    def call(self, operation: str, params: dict[str, Any], expected: Any, waits: bool) -> Any:
        """The answer. expected: whether text, which only the client itself can answer."""
        service, _, name = operation.partition(".")
        if service != "lambda":
            self._beside(name, params)
            return None
        params = self._present(name, self._with_code(params))
        aws = self.aws if isinstance(expected, str) else self.careless
        method = getattr(aws, botocore.xform_name(name))
        try:
            answer = method(**params)
            if waits:
                limit = time.monotonic() + 20
                while _moving(answer) and time.monotonic() < limit:
                    time.sleep(0.03)
                    answer = method(**params)
        except ClientError as error:
            return error.response
        except ParamValidationError as error:
            return str(error)
        self._learn(name, answer)
        return answer

    def _beside(self, name: str, params: dict[str, Any]) -> None:
        """Calls of other services: only what Lambda itself reads has to be there."""
        if name in ("PutObject", "CompleteMultipartUpload"):
            key = (params["Bucket"], params["Key"])
            if name == "PutObject":
                content = package({"index.py": f"# again {time.monotonic_ns()}\n"})
            else:  # recorded as unpacking to more than is allowed
                content = package({"large": bytes(262_144_001)})
            self.objects.held[key] = content

    def _with_code(self, params: dict[str, Any]) -> dict[str, Any]:
        """What is uploaded: only size and digest are recorded."""
        params = dict(params)
        for member in ("Code", "Content"):
            if isinstance(params.get(member), dict):
                params[member] = dict(params[member])
        for place in (params, params.get("Code", {}), params.get("Content", {})):
            if isinstance(place.get("ZipFile"), dict):
                place["ZipFile"] = _code(place["ZipFile"])
            if isinstance(place.get("Payload"), dict):
                place["Payload"] = place["Payload"].get("text", "{}").encode()
        return params

    def _present(self, name: str, params: dict[str, Any]) -> dict[str, Any]:
        """Identifiers that were made when it was recorded, as they are now."""
        if _UUID.fullmatch(str(params.get("RevisionId"))):
            params["RevisionId"] = self._revision(name, params)
        if _SHA256.fullmatch(str(params.get("CodeSha256"))):
            found = self.aws.get_function_configuration(FunctionName=params["FunctionName"])
            params["CodeSha256"] = found["CodeSha256"]
        for member in ("CodeSigningConfigArn", "UUID", "Resource"):
            if isinstance(params.get(member), str):
                for kind, made in self._made.items():
                    params[member] = re.sub(kind, made, params[member])
        return params

    def _revision(self, name: str, params: dict[str, Any]) -> str:
        aws = self.aws
        if "LayerVersion" in name:
            found = aws.get_layer_version_policy(
                LayerName=params["LayerName"], VersionNumber=params["VersionNumber"]
            )
        elif "Alias" in name:
            found = aws.get_alias(FunctionName=params["FunctionName"], Name=params["Name"])
        else:
            found = aws.get_function_configuration(FunctionName=params["FunctionName"])
        revision: str = found["RevisionId"]
        return revision

    def _learn(self, name: str, answer: dict[str, Any]) -> None:
        if name == "CreateCodeSigningConfig":
            self._made[r"csc-[a-z0-9]{17}"] = answer["CodeSigningConfig"]["CodeSigningConfigId"]
        if name == "CreateEventSourceMapping":
            self._made[r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"] = answer["UUID"]


def _code(described: dict[str, Any]) -> bytes:
    if "text" in described:
        return str(described["text"]).encode()
    if described["bytes"] > 52_428_800:
        return bytes(described["bytes"])
    return package({"handler.py": f"# {described['sha256']}\n" * 3})


def _moving(answer: Any) -> bool:
    configuration = answer.get("Configuration", answer)
    states = (configuration.get("State"), configuration.get("LastUpdateStatus"))
    return "Pending" in states or "InProgress" in states


def shaped(expected: Any, answer: Any) -> Any:
    """An answer in the form in which this recording keeps it."""
    if isinstance(answer, str) or not isinstance(expected, dict) or not isinstance(answer, dict):
        return answer
    if "ResponseMetadata" not in answer:
        return answer
    status = answer["ResponseMetadata"]["HTTPStatusCode"]
    answer = {**answer, "ResponseMetadata": {"HTTPHeaders": {}, "HTTPStatusCode": status}}
    if "CreateFunctionResponse" in expected:
        return {"CreateEventSourceMappingResponse": None, "CreateFunctionResponse": answer}
    if "Count" in expected and "Error" in answer:
        words = re.match(
            r"(\d+) validation errors? detected: (.*)", answer["Error"]["Message"], re.S
        )
        if words is not None:
            errors = re.split(r"; (?=Value )", words[2])
            return {"Code": answer["Error"]["Code"], "Count": int(words[1]), "Errors": errors}
    if set(expected) == {"Code", "Message"} and "Error" in answer:
        return {key: answer["Error"][key] for key in ("Code", "Message")}
    if "CodeSigningConfigId" in expected and answer.get("CodeSigningConfigs"):
        return answer["CodeSigningConfigs"][-1]
    for member in ("Policy", "Statement"):
        if isinstance(answer.get(member), str):
            answer[member] = json.loads(answer[member])
    if "AccountLimit" in expected:
        return {
            "AccountLimit": sorted(answer["AccountLimit"]),
            "AccountUsage": sorted(answer["AccountUsage"]),
            "ResponseMetadata": answer["ResponseMetadata"],
        }
    return answer


def paged(expected: Any, answers: list[Any]) -> Any:
    """The last answer, or all pages together where that is what is recorded."""
    last = answers[-1]
    if not isinstance(expected, dict) or not isinstance(last, dict):
        return last
    lists = [member for member, value in last.items() if isinstance(value, list)]
    if "ResponseMetadata" in expected or len(lists) != 1 or lists[0] not in expected:
        return last
    member = lists[0]
    items: list[Any] = []
    for answer in reversed(answers):
        items = answer[member] + items
        if len(items) >= len(expected[member]):
            break
    return {member: items}
