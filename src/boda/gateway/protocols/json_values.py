"""JSON bodies: decoding, encoding, and the shapes' readers and writers over them."""

from __future__ import annotations

import json
import math
from typing import Any

import orjson
from botocore.model import Shape

from boda.core import large_json
from boda.core.bounds import DEFAULT, Bounds
from boda.core.errors import MalformedInput
from boda.core.large_json import LongText
from boda.gateway.protocols.scalars import (
    blob_from_pieces,
    blob_from_text,
    blob_to_text,
    float_to_text,
    moment_from_number,
    moment_from_text,
    moment_to_number,
    moment_to_text,
    timestamp_form,
)
from boda.gateway.protocols.tree import Convert, InexactInteger, TreeReader, TreeWriter, unexpected

_LARGE, _LARGEST = 64 * 1024, 1024 * 1024
"""Up to the first, orjson decodes any body in 3 ms; up to the second, one of few values."""


def decode(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        raise MalformedInput("The request body is not valid JSON") from None


def read(body: bytes, convert: Convert, bounds: Bounds = DEFAULT) -> Any:
    """Decode and convert a body; integers beyond 64 bits are decoded again without losing digits.

    A body that is large and may have many values is parsed in steps (large_json).
    """
    if len(body) > _LARGE and (len(body) > _LARGEST or body.count(b",") > bounds.members):
        return convert(large_json.parse(body, bounds))
    try:
        return convert(decode(body))
    except InexactInteger:
        pass
    try:
        return convert(json.loads(body))
    except (ValueError, InexactInteger):
        raise MalformedInput("NUMBER_VALUE cannot be converted to Long") from None


def encode(tree: Any) -> bytes:
    try:
        return orjson.dumps(tree)
    except TypeError:
        # Integers beyond 64 bits, lone surrogates, very deep documents: rare and slower.
        return json.dumps(tree, separators=(",", ":"), default=str).encode("ascii")


class JsonReader(TreeReader):
    def text(self, value: Any) -> str:
        return super().text(value.text() if type(value) is LongText else value)

    def blob(self, value: Any) -> bytes:
        if type(value) is LongText:
            return blob_from_pieces(value.pieces())
        if type(value) is not str:
            raise MalformedInput("only base-64-encoded strings are convertible to bytes")
        return blob_from_text(value)

    def timestamp(self, shape: Shape) -> Convert:
        form = timestamp_form(shape, "unixtimestamp")
        if form == "unixtimestamp":
            return _moment
        return lambda value: moment_from_text(_string(value), form)


class JsonWriter(TreeWriter):
    def blob(self, value: Any) -> str:
        return blob_to_text(value)

    def float(self, value: Any) -> Any:
        number = value if type(value) is int else float(value)
        return number if math.isfinite(number) else float_to_text(number)

    def timestamp(self, shape: Shape) -> Convert:
        form = timestamp_form(shape, "unixtimestamp")
        if form == "unixtimestamp":
            return moment_to_number
        return lambda value: moment_to_text(value, form)


def _string(value: Any) -> str:
    if type(value) is str:
        return value
    raise unexpected(value, "String")


def _moment(value: Any) -> Any:
    if type(value) is int or type(value) is float:
        return moment_from_number(value)
    raise unexpected(value, "milliseconds since epoch")
