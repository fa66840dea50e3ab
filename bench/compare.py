"""boda beside what a user could run instead, in one run: the same handler, JSON in and out.

All servers are up at once and measured in turns, in an order that moves on with each round, so
that a busy minute of the machine falls on all of them. Medians over the rounds; ratios of medians.
A cold start is, for a server, from its spawn to its first right answer; for boda, the first answer
of a function whose configuration was just changed, and whose environment therefore is new.

boda's requests are each signed differently, beforehand, anew for each round.
"""

from __future__ import annotations

import contextlib
import json
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import botocore.session

from bench import chart, cold, peers
from bench.host import Boda, package
from bench.load import run_load, same, write_requests
from bench.peers.server import ask, cpu_s
from bench.signing import Signer

ROUNDS = 5
COLD_ROUNDS = 7
SECONDS = {16: 2.0, 1: 1.0}
REQUESTS = {16: 40_000, 1: 12_000}
STEADY = 1.25
# The question is speed; AWS's throttle of synchronous calls for each environment is not.
OPTIONS = ("--quota", "requests_per_environment=0")
INVOKE = "boda, signed Invoke"
URL = "boda, function URL"

# A function URL's event has the request's body as text, as API Gateway's has.
OF_A_URL = """
import json

_handle = lambda_handler


def lambda_handler(event, context):
    return _handle(json.loads(event["body"]), context)
"""

_HEALTH = b"GET /_ministack/health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
_TEST_KEYS = ("test", "test")
_TEST_ROLE = "arn:aws:iam::000000000000:role/bench"
_OWN_RUNTIME = f"python{sys.version_info.major}.{sys.version_info.minor}"

# Of each round: the name in the report, the load generator's, divided by, digits.
_KEYS = (
    ("per_second", "per_second", 1, 0),
    ("p50_ms", "p50_us", 1000, 3),
    ("p99_ms", "p99_us", 1000, 3),
    ("server_cpu_us", "server_cpu_us", 1, 1),
    ("client_cpu_us", "client_cpu_us", 1, 1),
)

# What is asked of what: the ratio's name, ours and theirs.
RATIOS = (
    ("signed Invoke against FastAPI, 1 worker", INVOKE, peers.FASTAPI.name),
    ("signed Invoke against FastAPI, 2 workers", INVOKE, peers.FASTAPI_2.name),
    ("function URL against FastAPI, 1 worker", URL, peers.FASTAPI.name),
    ("function URL against workerd", URL, peers.WORKERD.name),
    ("signed Invoke against ministack's", INVOKE, peers.MINISTACK.name),
)


@dataclass(frozen=True)
class Server:
    """One row: where it answers, how a body becomes a request, and what a cold start is."""

    name: str
    port: int
    pid: int
    requests: Callable[[list[bytes]], list[bytes]]
    cold_start_s: Callable[[], float]


def run(folder: Path) -> dict[str, Any]:
    left_out: dict[str, str] = {}
    failures: list[str] = []
    with contextlib.ExitStack() as stack:
        boda = stack.enter_context(Boda(folder / "data", *OPTIONS))
        servers = _boda(boda)
        for peer in _installed(left_out):
            try:
                running = stack.enter_context(peer.running(folder, plain(_bodies(1))[0]))
            except RuntimeError as error:
                failures.append(peer.name)
                _leave_out(left_out, peer.name, str(error))
                continue
            servers.append(
                Server(peer.name, running.port, running.pid, plain, _cold_of(peer, folder))
            )
        if peers.MINISTACK.name not in left_out:
            running = stack.enter_context(peers.MINISTACK.running(folder, _HEALTH))
            servers.append(_ministack(running, folder))
        rounds = _load(servers, folder)
    report = _report(rounds, _cold(servers, folder), left_out)
    report["six different functions cold at once, s"] = _six(folder, left_out)
    report["failures"] = failures
    chart.draw(report, peers.ROOT / ".bench" / "peers.svg")
    return report


def _ministack(running: peers.Running, folder: Path) -> Server:
    """Its Invoke, signed as boda's is; a cold start is a new function's first answer."""
    _make_function(running.port, "Invoked", peers.HANDLER)

    def signer(port: int, name: str) -> Signer:
        return Signer(f"{_local(port)}/2015-03-31/functions/{name}/invocations", *_TEST_KEYS)

    def cold() -> float:
        with peers.MINISTACK.running(folder, _HEALTH) as fresh:
            _make_function(fresh.port, "Cold", peers.HANDLER)
            request = signer(fresh.port, "Cold").requests(_bodies(1))[0]
            begin = time.perf_counter()
            answer = ask(fresh.port, request)
            seconds = time.perf_counter() - begin
        if not same(answer.partition(b"\r\n\r\n")[2], _answers(1)[0]):
            raise RuntimeError(f"ministack answered {answer!r}")
        return seconds

    requests = signer(running.port, "Invoked").requests
    return Server(peers.MINISTACK.name, running.port, running.pid, requests, cold)


def _local(port: int) -> str:
    return f"http://127.0.0.1:{port}"


def _test_client(port: int) -> Any:
    key, secret = _TEST_KEYS
    return botocore.session.Session().create_client(
        "lambda",
        region_name="us-east-1",
        endpoint_url=_local(port),
        aws_access_key_id=key,
        aws_secret_access_key=secret,
    )


def _make_function(port: int, name: str, source: str) -> None:
    _test_client(port).create_function(
        FunctionName=name,
        Runtime=_OWN_RUNTIME,
        Role=_TEST_ROLE,
        Handler="lambda_function.lambda_handler",
        Code={"ZipFile": package(source)},
        MemorySize=1769,
    )


def _six(folder: Path, left_out: dict[str, str]) -> dict[str, float]:
    """Seconds until six new functions, invoked at once, have answered: medians."""
    with Boda(folder / "six") as boda:
        client, runtime, role = boda.client("lambda"), boda.runtime(), boda.role()
        found = {"boda": [cold.six_at_once_s(client, runtime, role, cold.BARE) for _ in range(5)]}
    if peers.MINISTACK.name not in left_out:
        with peers.MINISTACK.running(folder, _HEALTH) as running:
            client = _test_client(running.port)
            found["ministack"] = [
                cold.six_at_once_s(client, _OWN_RUNTIME, _TEST_ROLE, cold.BARE) for _ in range(5)
            ]
    return {name: round(statistics.median(samples), 2) for name, samples in found.items()}


def _installed(left_out: dict[str, str]) -> list[peers.Peer]:
    """The peers that can be had here; why not, of the others."""
    missing: dict[Any, str] = {}
    compared = (*peers.PEERS, peers.MINISTACK)
    for home in {peer.home: None for peer in compared}:
        try:
            home.install()
        except peers.Missing as error:
            missing[home] = str(error)
    for peer in compared:
        if peer.home in missing:
            _leave_out(left_out, peer.name, missing[peer.home])
    return [peer for peer in peers.PEERS if peer.home not in missing]


def _leave_out(left_out: dict[str, str], name: str, why: str) -> None:
    left_out[name] = why
    print(f"  left out: {name}: {why}", flush=True)


def _load(servers: list[Server], folder: Path) -> dict[str, dict[int, list[dict[str, Any]]]]:
    """Rounds by server and number of connections. RuntimeError at the first wrong answer."""
    found: dict[str, dict[int, list[dict[str, Any]]]] = defaultdict(lambda: defaultdict(list))
    for connections, seconds in SECONDS.items():
        bodies, answers = _bodies(REQUESTS[connections]), _answers(REQUESTS[connections])
        for at in range(-1, ROUNDS):
            for server in _turned(servers, at):
                file = folder / "requests"
                write_requests(file, server.requests(bodies), answers)
                used = cpu_s(server.pid)
                one = run_load(server.port, connections, seconds if at >= 0 else 0.7, file)
                one["server_cpu_us"] = (cpu_s(server.pid) - used) / max(1, one["requests"]) * 1e6
                if one["errors"] or not one["checked"]:
                    raise RuntimeError(f"{server.name} answered wrongly: {one['sample_error']}")
                if at >= 0:
                    found[server.name][connections].append(one)
    return found


def _turned(servers: list[Server], at: int) -> list[Server]:
    turn = at % len(servers)
    return servers[turn:] + servers[:turn]


def _bodies(count: int) -> list[bytes]:
    return [json.dumps({"name": f"rider {n}", "numbers": [n, 2, 3]}).encode() for n in range(count)]


def _answers(count: int) -> list[bytes]:
    """What the handler must answer to each of `_bodies`."""
    return [json.dumps({"hello": f"rider {n}", "total": n + 5}).encode() for n in range(count)]


def plain(bodies: list[bytes], host: str = "127.0.0.1") -> list[bytes]:
    head = f"POST / HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n".encode()
    return [b"%sContent-Length: %d\r\n\r\n%s" % (head, len(body), body) for body in bodies]


def _boda(boda: Boda) -> list[Server]:
    """Both ways into a function, each with one of its own."""
    assert boda.process is not None
    client = boda.client("lambda")
    existing = {one["FunctionName"] for one in client.list_functions()["Functions"]}
    for name in {"Invoked", "Opened"} - existing:
        source = peers.HANDLER if name == "Invoked" else peers.HANDLER + OF_A_URL
        boda.function(name, source, MemorySize=1769)
    if "Opened" in existing:
        address = client.get_function_url_config(FunctionName="Opened")["FunctionUrl"]
        host = address.split("/")[2]
    else:
        host = boda.open_url("Opened")
    key, secret = boda.keys
    signer = Signer(f"{boda.url}/2015-03-31/functions/Invoked/invocations", key, secret)

    def open_url(bodies: list[bytes]) -> list[bytes]:
        return plain(bodies, host)

    def changed(
        function: str, requests: Callable[[list[bytes]], list[bytes]]
    ) -> Callable[[], float]:
        return lambda: _cold_function_s(boda, function, requests)

    pid = boda.process.pid
    return [
        Server(INVOKE, boda.port, pid, signer.requests, changed("Invoked", signer.requests)),
        Server(URL, boda.port, pid, open_url, changed("Opened", open_url)),
    ]


def _cold(servers: list[Server], folder: Path) -> dict[str, list[float]]:
    """Seconds of each cold start by server, with no other server up; the first is not counted."""
    found: dict[str, list[float]] = defaultdict(list)
    with Boda(folder / "data", *OPTIONS) as boda:
        again = {one.name: one for one in _boda(boda)}
        starts = [again.get(one.name, one) for one in servers]
        for at in range(-1, COLD_ROUNDS):
            for one in _turned(starts, at):
                seconds = one.cold_start_s()
                if at >= 0:
                    found[one.name].append(seconds)
    return found


def _cold_of(peer: peers.Peer, folder: Path) -> Callable[[], float]:
    return lambda: peer.cold_start_s(folder, plain(_bodies(1))[0])


def _cold_function_s(
    boda: Boda, function: str, requests: Callable[[list[bytes]], list[bytes]]
) -> float:
    client, platform = boda.client("lambda"), boda.client("boda")
    client.update_function_configuration(
        FunctionName=function, Environment={"Variables": {"AT": str(time.time())}}
    )
    client.get_waiter("function_updated_v2").wait(
        FunctionName=function, WaiterConfig={"Delay": 0, "MaxAttempts": 500}
    )
    time.sleep(0.05)  # the old environment is taken down meanwhile
    before = _environments(platform, function)
    request = requests(_bodies(1))[0]
    begin = time.perf_counter()
    answer = ask(boda.port, request)
    seconds = time.perf_counter() - begin
    if not same(answer.partition(b"\r\n\r\n")[2], _answers(1)[0]):
        raise RuntimeError(f"{function} answered {answer!r}")
    if not _environments(platform, function) - before:
        raise RuntimeError(f"{function}: not a cold start")
    return seconds


def _environments(platform: Any, function: str) -> set[int]:
    found = platform.list_environments(FunctionName=function)["Environments"]
    return {one["Pid"] for one in found}


def _report(
    rounds: dict[str, dict[int, list[dict[str, Any]]]],
    cold: dict[str, list[float]],
    left_out: dict[str, str],
) -> dict[str, Any]:
    servers: dict[str, Any] = {}
    for name, by_connections in rounds.items():
        servers[name] = {
            f"x{connections}": {
                key: round(statistics.median(one[source] for one in found) / scale, digits)
                for key, source, scale, digits in _KEYS
            }
            for connections, found in by_connections.items()
        }
        for connections, found in by_connections.items():
            each = [round(one["per_second"]) for one in found]
            servers[name][f"x{connections}"]["per_second_of_rounds"] = sorted(each)
        servers[name]["cold_start_ms"] = round(statistics.median(cold[name]) * 1000, 1)
    return {
        "servers": servers,
        "ratios": {
            f"{what}, x{connections}": round(
                servers[ours][f"x{connections}"]["per_second"]
                / servers[theirs][f"x{connections}"]["per_second"],
                2,
            )
            for connections in SECONDS
            for what, ours, theirs in RATIOS
            if theirs in servers
        },
        "left_out": left_out,
        "versions": _versions(),
        "rounds": ROUNDS,
        "seconds": {f"x{connections}": seconds for connections, seconds in SECONDS.items()},
        "cold_rounds": COLD_ROUNDS,
    }


def _versions() -> dict[str, str]:
    """Of the servers named in the table, as their locks have them."""
    python, node = peers.PYTHON.versions(), peers.NODE_HOME.versions()
    emulator = peers.MINISTACK_HOME.versions()
    named = ("uvicorn", "fastapi", "gunicorn", "flask", "functions-framework")
    scoped = "@google-cloud/functions-framework"
    return (
        {name: python[name] for name in named}
        | {"ministack": emulator["ministack"]}
        | {name: node[name] for name in (scoped, "serverless", "serverless-offline", "workerd")}
    )


def show(report: dict[str, Any]) -> None:
    """The table, as it is read."""
    base = report["servers"].get(peers.FASTAPI.name)
    rows = [
        (
            *("server", "x16 /s", "× FastAPI", "p50 ms", "p99 ms", "x1 /s", "p50 ms", "p99 ms"),
            *("cold ms", "server µs", "client µs"),
        )
    ]
    for name, one in report["servers"].items():
        many, single = one["x16"], one["x1"]
        ratio = f"{many['per_second'] / base['x16']['per_second']:.2f}" if base else "-"
        rows.append(
            (
                *(name, f"{many['per_second']:,.0f}", ratio, f"{many['p50_ms']:.2f}"),
                *(f"{many['p99_ms']:.2f}", f"{single['per_second']:,.0f}"),
                *(f"{single['p50_ms']:.3f}", f"{single['p99_ms']:.3f}"),
                *(f"{one['cold_start_ms']:.1f}", f"{many['server_cpu_us']:.0f}"),
                f"{many['client_cpu_us']:.0f}",
            )
        )
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    for row in rows:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        print("  " + "  ".join(cells).rstrip())
    print("  server µs, client µs: CPU for each request, of the server and of the load generator")
    for what, ratio in report["ratios"].items():
        print(f"  {ratio:.2f} × {what}")
    six = report["six different functions cold at once, s"]
    print(
        "  six different functions cold at once: " + ", ".join(f"{k} {v} s" for k, v in six.items())
    )
    print(f"  {_steadiness(report)}")
    for name, why in report["left_out"].items():
        print(f"  left out: {name}: {why}")
    print("  " + ", ".join(f"{name} {version}" for name, version in report["versions"].items()))


def _steadiness(report: dict[str, Any]) -> str:
    """How far the rounds lay apart, which says how much the ratios are worth."""
    apart = [
        max(one["x16"]["per_second_of_rounds"]) / min(one["x16"]["per_second_of_rounds"])
        for one in report["servers"].values()
    ]
    told = f"fastest round by slowest, x16: {statistics.median(apart):.2f} in the median"
    if statistics.median(apart) > STEADY:
        told += "; other work kept the machine busy: trust the CPU columns, not the rates"
    return told
