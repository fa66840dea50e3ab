"""Match the method and path of a request to an operation of a REST service.

Built once per service from the model's request URIs. A path is walked as a tree of segments,
literals before labels; operations that share a path are distinguished by the query parameters and
headers that their URI or model requires (``?uploads``, ``partNumber``, ``x-amz-copy-source``): of
those whose requirements are met, the one with the most wins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote

from botocore.model import OperationModel, ServiceModel

Labels = dict[str, str]
"""Read-only: requests with the same path share them."""

_REMEMBERED_PATHS = 2048
_REMEMBERED_CHARACTERS = 256


@dataclass(frozen=True, slots=True)
class Candidate:
    """One operation under one method and path shape.

    names: the labels in the path's order. literals: query parameters its URI fixes (value "" for a
    bare name). query, headers: required members that stand there, by wire name.
    rank: prefers, among equals, operations that exist and are not deprecated; lower is better.
    """

    operation: str
    names: tuple[str, ...]
    literals: tuple[tuple[str, str], ...]
    query: tuple[str, ...]
    headers: tuple[str, ...]
    rank: int

    @property
    def plain(self) -> bool:
        return not (self.literals or self.query or self.headers)


@dataclass(slots=True)
class _Node:
    literals: dict[str, _Node] = field(default_factory=dict)
    label: _Node | None = None
    here: dict[str, list[Candidate]] = field(default_factory=dict)
    rest: dict[str, list[Candidate]] = field(default_factory=dict)
    """Operations whose last label takes all remaining segments (``{Key+}``)."""


class PathTable:
    """offered: names of the operations that boda has; they are preferred to equals it lacks.

    trailing_slash: whether ``/a/`` is the same path as ``/a``; for S3 it is not, in a key.
    """

    def __init__(
        self, model: ServiceModel, offered: Iterable[str] = (), *, trailing_slash: bool = True
    ) -> None:
        self._root = _Node()
        self._plain: dict[tuple[str, str], tuple[str, Labels]] = {}
        self._trailing_slash = trailing_slash
        self.headers: set[str] = set()
        """The names of the headers that distinguish operations."""
        known = frozenset(offered)
        for name in model.operation_names:
            self._add(model.operation_model(name), name in known)
        _sort(self._root)

    def match(
        self, method: str, path: str, query: str, headers: Mapping[str, str]
    ) -> tuple[str, Labels] | None:
        """Return the operation and its labels, still percent-encoded; None if there is none."""
        known = self._plain.get((method, path))
        if known is not None:
            return known
        segments = path.split("/")[1:]
        if self._trailing_slash:
            while segments and not segments[-1]:
                segments.pop()
        elif len(segments) == 2 and not segments[1]:
            segments.pop()
        if segments == [""]:
            segments = []
        parsed: dict[str, str] | None = None
        for candidates, values in _walk(self._root, segments, 0, [], method):
            if len(candidates) == 1 and candidates[0].plain:
                best = candidates[0]
            else:
                if parsed is None:
                    parsed = dict(parse_qsl(query, keep_blank_values=True)) if query else {}
                chosen = _best(candidates, parsed, headers)
                if chosen is None:
                    continue
                best = chosen
            found = best.operation, dict(zip(best.names, values, strict=True))
            if parsed is None and len(path) <= _REMEMBERED_CHARACTERS:
                # Neither query nor headers mattered: the path alone determines the operation.
                if len(self._plain) >= _REMEMBERED_PATHS:
                    self._plain.clear()
                self._plain[method, path] = found
            return found
        return None

    def _add(self, operation: OperationModel, offered: bool) -> None:
        uri: str = operation.http.get("requestUri", "/")
        method: str = operation.http.get("method", "POST")
        path, _, fixed = uri.partition("?")
        node = self._root
        names: list[str] = []
        greedy = False
        for segment in path.strip("/").split("/"):
            if not segment:
                continue
            if segment.startswith("{") and segment.endswith("+}"):
                names.append(segment[1:-2])
                greedy = True
                break
            if segment.startswith("{") and segment.endswith("}"):
                names.append(segment[1:-1])
                if node.label is None:
                    node.label = _Node()
                node = node.label
            else:
                node = node.literals.setdefault(unquote(segment), _Node())
        query, headers = _demands(operation)
        self.headers.update(headers)
        candidate = Candidate(
            operation.name,
            tuple(names),
            tuple((k, v) for k, v in parse_qsl(fixed, keep_blank_values=True) if k != "x-id"),
            query,
            headers,
            (0 if offered else 2) + (1 if operation.deprecated else 0),
        )
        (node.rest if greedy else node.here).setdefault(method, []).append(candidate)


def _demands(operation: OperationModel) -> tuple[tuple[str, ...], tuple[str, ...]]:
    shape = operation.input_shape
    query: list[str] = []
    headers: list[str] = []
    if shape is not None:
        for name in shape.required_members:
            where = shape.members[name].serialization
            if where.get("location") == "querystring":
                query.append(where.get("name", name))
            elif where.get("location") == "header":
                headers.append(where.get("name", name).lower())
    return tuple(query), tuple(headers)


def _sort(node: _Node) -> None:
    def demanding(candidate: Candidate) -> tuple[int, int]:
        asked = len(candidate.literals) + len(candidate.query) + len(candidate.headers)
        return (-asked, candidate.rank)

    for table in (node.here, node.rest):
        for candidates in table.values():
            candidates.sort(key=demanding)
    children = [*node.literals.values(), *([node.label] if node.label else [])]
    for child in children:
        _sort(child)


def _walk(
    node: _Node, segments: list[str], at: int, values: list[str], method: str
) -> Iterator[tuple[list[Candidate], list[str]]]:
    """Yield every node of the tree that the path reaches, the most literal first."""
    if at == len(segments):
        if method in node.here:
            yield node.here[method], values
        return
    segment = segments[at]
    literal = node.literals.get(segment)
    if literal is None and "%" in segment:
        literal = node.literals.get(unquote(segment))
    if literal is not None:
        yield from _walk(literal, segments, at + 1, values, method)
    if node.label is not None and segment:
        yield from _walk(node.label, segments, at + 1, [*values, segment], method)
    if method in node.rest:
        remaining = "/".join(segments[at:])
        if remaining:
            yield node.rest[method], [*values, remaining]


def _best(
    candidates: list[Candidate], query: Mapping[str, str], headers: Mapping[str, str]
) -> Candidate | None:
    """Return the candidate with the most requirements of those that are met; else the one that
    lacks least.

    A request that lacks a required parameter still means an operation: validation names the missing
    one. The parameters that an operation's URI fixes must be there in any case.
    """
    lacking: Callable[[Candidate], int] = lambda one: (  # noqa: E731
        sum(name not in query for name in one.query)
        + sum(name not in headers for name in one.headers)
    )
    possible = [
        one
        for one in candidates
        if not one.literals or (query and all(_holds(query, name, to) for name, to in one.literals))
    ]
    if not possible:
        return None
    most = max(len(one.literals) for one in possible)
    met = next((one for one in possible if _is_met(one, query, headers)), None)
    if met is not None and len(met.literals) == most:
        return met
    return min((one for one in possible if len(one.literals) == most), key=lacking)


def _is_met(one: Candidate, query: Mapping[str, str], headers: Mapping[str, str]) -> bool:
    return all(map(query.__contains__, one.query)) and all(map(headers.__contains__, one.headers))


def _holds(query: Mapping[str, str], name: str, value: str) -> bool:
    return name in query and (not value or query[name] == value)
