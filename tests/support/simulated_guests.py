"""What guests do in a simulated world: mostly their work, and now and then anything else.

A guest answers with the nonce it was asked with and the revision that its sandbox was made of, so
that an answer shows whose it is and which code made it.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from boda.runtime import frames
from support.fake_guests import Guest, HttpGuest, Invoked
from support.simulated_ledger import Ledger

FLOOD = 96 << 10
"""Bytes of log at once: more than a pipe holds."""


class Guests:
    """calm: from now on all of them do what they should."""

    def __init__(self, chance: random.Random, ledger: Ledger, badness: float) -> None:
        self.chance = chance
        self.ledger = ledger
        self.badness = badness
        self.calm = False
        self.hang_up: Callable[[], None] = lambda: None
        self._told = 0.0
        self.past: list[tuple[Guest, Invoked]] = []

    def script(self, sandboxes: Any) -> None:
        sandboxes.init, sandboxes.snapshot = self.init, self.snapshot
        sandboxes.restore, sandboxes.handle = self.restore, self.handle
        self.past.clear()

    def _pick(self, acts: dict[Any, float]) -> Any:
        """The first act, or with the chance of badness another one by its weight."""
        first, *others = acts
        if self.calm or self.chance.random() >= self.badness:
            return first
        return self.chance.choices(others, [acts[each] for each in others])[0]

    def _delay(self, *often: float) -> float:
        """Seconds; in calm the shortest, so that all ends well within its limits."""
        return self.chance.choice(often[:2] if self.calm else often)

    def _later(self, guest: Guest, seconds: float, act: Any, *args: Any) -> None:
        """What a guest does at one moment it does in the order in which it was told."""
        self._told += 1e-7
        clock = guest.sandbox.owner.clock
        clock.call_later(seconds + self._told, self._act, guest, act, *args)

    def _act(self, guest: Guest, act: Any, *args: Any) -> None:
        if not guest.alive:
            return
        act(*args)
        if not self.calm and self.chance.random() < 0.03:
            self._meanwhile(self.chance.randrange(6))

    def _meanwhile(self, steps: int) -> None:
        """A client hangs up so many steps after what a guest did: between any two of what follows
        from it."""
        if steps:
            asyncio.get_running_loop().call_soon(self._meanwhile, steps - 1)
        else:
            self.hang_up()

    # Init, snapshot and restore

    def init(self, guest: Guest) -> None:
        if isinstance(guest, HttpGuest):
            guest.lasting = self.chance.random() < 0.7
            guest.eager = self.chance.random() < 0.3
            guest.exact = self.chance.random() < 0.5
        act = self._pick({"ready": 0, "exit": 2, "error": 2, "late": 2, "garbage": 1, "mute": 1})
        delay = self._delay(0, 0.01, 0.5, 3)
        if act == "ready" and not delay and self.chance.random() < 0.5:
            guest.ready()  # before its start is told
        elif act == "ready":
            self._later(guest, delay, guest.ready)
        elif act == "exit":
            self._later(guest, delay, guest.exit, self.chance.choice((0, 1, 139)))
        elif act == "error":
            body = b'{"errorType":"Runtime.ImportModuleError"}'
            self._later(guest, delay, guest.init_error, "Runtime.ImportModuleError", body)
        elif act == "late":
            self._later(guest, 11, guest.ready)
        elif act == "garbage":
            self._later(guest, delay, guest.send, self.chance.randbytes(40))

    def snapshot(self, guest: Guest) -> None:
        act = self._pick({"done": 0, "exit": 1, "error": 1, "ready": 1, "garbage": 1, "mute": 1})
        delay = self._delay(0, 0.5, 5)
        if act == "done":
            self._later(guest, delay, guest.snapshotted)
        elif act == "exit":
            self._later(guest, delay, guest.exit, 1)
        elif act == "error":
            self._later(guest, delay, guest.init_error, "Runtime.ImportModuleError")
        elif act == "ready":
            self._later(guest, delay, guest.ready)
        elif act == "garbage":
            self._later(guest, delay, guest.send, self.chance.randbytes(30))

    def restore(self, guest: Guest) -> None:
        act = self._pick({"ready": 0, "exit": 1, "error": 1, "template": 1, "late": 1, "mute": 1})
        delay = self._delay(0, 0.01, 2)
        if act == "ready":
            self._later(guest, delay, guest.ready)
        elif act == "exit":
            self._later(guest, delay, guest.exit, 1)
        elif act == "error":
            self._later(guest, delay, guest.init_error, "Runtime.AfterRestoreError")
        elif act == "template":
            self._later(guest, delay, guest.frame, frames.SNAPSHOTTED, b"")
        elif act == "late":
            self._later(guest, 11, guest.ready)

    # Invocations

    _ACTS = {
        "answer": 0,
        "fail": 4,
        "exit": 3,
        "oom": 1,
        "half": 2,
        "hang": 3,
        "late": 2,
        "twice": 2,
        "other": 4,
        "id": 1,
        "garbage": 2,
        "unknown": 1,
        "ready": 1,
        "huge": 1,
        "endless": 1,
        "flood": 2,
        "then exit": 3,
        "early": 2,
        "error id": 1,
        "unbegun": 1,
        "reconnect": 2,
    }  # fmt: skip

    def handle(self, guest: Guest, invoked: Invoked) -> None:
        self.ledger.hears(guest, invoked)
        self.past.append((guest, invoked))
        environment = guest.sandbox.spec.environment
        if self.chance.random() < 0.3:
            guest.write(f"mine {guest.sandbox.spec.sandbox_id} {_name(environment)}\n")
        act = self._pick(self._ACTS)
        delay = self._delay(0, 0.002, 0, 0.3, 1.5)
        if act != "answer":
            self.ledger.note(f"{invoked.request_id} -> {act}")
            self.ledger.counts[f"act {act}"] += 1
        if act in ("answer", "then exit", "flood"):
            if act == "flood":
                self._flood(guest, 4)
            if self.chance.random() < 0.2:
                self._stream(guest, invoked, delay, act == "answer" and not self.calm)
            else:
                self._later(guest, delay, self.answer, guest, invoked)
            if act == "then exit":
                self._later(guest, delay, guest.exit, 1)
        elif act == "fail":
            body = json.dumps({"errorType": "ValueError", "nonce": invoked.request_id}).encode()
            self._later(guest, delay, guest.fail, invoked, "ValueError", body)
        elif act == "exit":
            self._later(guest, delay, guest.exit, self.chance.choice((0, 1)))
        elif act == "oom":
            self._later(guest, delay, guest.exit, None, 9, True)
        elif act == "half":
            body = b'{"nonce":"half of it"}'
            self._later(guest, delay, guest.send, guest.encoded(invoked, body, len(body) + 4))
            self._later(guest, delay, guest.exit, 1)
        elif act == "late":
            self._later(guest, 2.0 + delay, self.answer, guest, invoked)
        elif act == "twice":
            self._later(guest, delay, self.answer, guest, invoked)
            self._later(guest, delay + self.chance.choice((0, 0.1)), self.answer, guest, invoked)
        elif act == "other":  # the whole answer to an older call, perhaps another environment's
            self._later(guest, delay, self._answer_of, guest, self._other(guest, invoked))
        elif act == "error id":
            nobody = self._unasked(guest, invoked)
            self._later(guest, delay, guest.fail, nobody, "E", b'{"nonce":"nobody"}')
        elif act == "id":
            nobody = self._unasked(guest, invoked)
            self._later(guest, delay, guest.respond, nobody, b'{"nonce":"nobody"}')
        elif act == "garbage":
            self._later(guest, delay, guest.send, self.chance.randbytes(30))
        elif act == "unknown":
            self._later(guest, delay, guest.nonsense)
        elif act == "ready":
            self._later(guest, delay, guest.ready)
        elif act == "huge":
            self._later(guest, delay, guest.respond, invoked, bytes(frames.MAX_PAYLOAD + 1))
        elif act == "endless":  # the head of what would be too much, and then nothing
            self._later(guest, delay, guest.send, guest.encoded(invoked, b"", 0x7FFFFF00))
        elif act == "early":  # the answer to what it will be asked next
            self._later(guest, delay, self.answer, guest, invoked)
            nobody = self._unasked(guest, invoked)
            self._later(guest, delay, guest.respond, nobody, b'{"nonce":"early"}')
        elif act == "unbegun":
            self._later(guest, delay, guest.part, invoked, b"no beginning")
        elif act == "reconnect":
            self._later(guest, delay, self.answer, guest, invoked)
            self._later(guest, delay + self.chance.choice((0, 0, 0.1)), guest.reconnect)

    def _unasked(self, guest: Guest, invoked: Invoked) -> Invoked:
        """Another attempt, or another invocation where the guest names no attempts."""
        if _exact(guest) and self.chance.random() < 0.7:
            return replace(invoked, id=bytes([invoked.id[0] ^ 1]) + invoked.id[1:])
        return replace(invoked, id=self.chance.randbytes(8), header={**invoked.header, "id": "r0"})

    def _other(self, guest: Guest, invoked: Invoked) -> tuple[Guest, Invoked]:
        """What was asked before. Who names no attempts cannot tell those of one event apart."""
        other = self.chance.choice(self.past)
        same = other[1].request_id == invoked.request_id
        return (guest, invoked) if same and not _exact(guest) else other

    def answer(self, guest: Guest, invoked: Invoked) -> None:
        guest.respond(invoked, answer(guest, invoked))

    def _answer_of(self, guest: Guest, other: tuple[Guest, Invoked]) -> None:
        guest.respond(other[1], answer(*other))

    def _stream(self, guest: Guest, invoked: Invoked, at: float, may_break: bool) -> None:
        """The answer in parts; now and then it breaks off, in one of many ways."""
        body = answer(guest, invoked)
        breaks = self._pick({"": 0, "exit": 1, "fail": 1, "other": 1, "whole": 1, "hang": 1})
        breaks = breaks if may_break else ""
        self._later(guest, at, guest.stream, invoked)
        for start in range(0, len(body), 32):
            at += self.chance.choice((0, 0, 0.01))
            self._later(guest, at, guest.part, invoked, body[start : start + 32])
            if breaks:
                break
        if not breaks:
            self._later(guest, at, guest.end, invoked)
        elif breaks == "exit":
            self._later(guest, at, guest.exit, 1)
        elif breaks == "fail":
            self._later(guest, at, guest.fail, invoked, "ValueError", b"{}")
        elif breaks == "other":
            other, asked = self._other(guest, invoked)
            self._later(guest, at, guest.part, asked, answer(other, asked))
        elif breaks == "whole":
            self._later(guest, at, self.answer, guest, invoked)

    def _flood(self, guest: Guest, times: int) -> None:
        """Fill both pipes as far as they take it, several times."""
        if not guest.alive:
            return
        sandbox = guest.sandbox
        line = f"mine {sandbox.spec.sandbox_id} {_name(sandbox.spec.environment)}\n".encode()
        line += b"x" * 8000 + b"\n"
        _fill(guest.console, line * (FLOOD // len(line)))
        if self.chance.random() < 0.5:
            _fill(guest.log_end, b"\xa5\x5a\x00\x03\xff\xff\xff\xff" + bytes(1000))
        if times > 1:
            self._later(guest, 0.01, self._flood, guest, times - 1)


def _exact(guest: Guest) -> bool:
    return not isinstance(guest, HttpGuest) or guest.exact


def answer(guest: Guest, invoked: Invoked) -> bytes:
    """Whose it is, and which code made it."""
    template = guest.sandbox.template or guest.sandbox
    return json.dumps(
        {
            "nonce": json.loads(invoked.payload)["nonce"],
            "revision": template.spec.environment["REVISION"],
            "tenant": invoked.header.get("tenant", ""),
        }
    ).encode()


def _name(environment: Any) -> str:
    return environment["AWS_LAMBDA_FUNCTION_NAME"]


def _fill(descriptor: int, data: bytes) -> None:
    os.set_blocking(descriptor, False)
    try:
        os.write(descriptor, data)
    except BlockingIOError:
        pass
    finally:
        os.set_blocking(descriptor, True)
