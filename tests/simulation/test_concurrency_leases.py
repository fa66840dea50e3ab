"""Leases of concurrency against a plain model: reservations and provisions that change while calls
begin and end in any order. No limit is ever exceeded, nothing guaranteed is refused, nothing leaks.
"""

from __future__ import annotations

import random

import pytest

from boda.core.errors import AwsError
from boda.invoke.concurrency import Concurrency, ConcurrencyLease
from support.fake_sandbox import function

PLACE = ("000000000000", "us-east-1")
LIMIT = 30
NAMES = ("a", "b", "c", "d")
VERSIONS = ("$LATEST", "1", "2")


class Model:
    """What is told of each function, and what runs, counted afresh each time."""

    def __init__(self) -> None:
        self.reserved: dict[str, int] = {}
        self.aside: dict[tuple[str, str], int] = {}
        self.held: list[tuple[str, str, ConcurrencyLease]] = []

    def taken(self) -> int:
        """Of the account's limit, by what is reserved or set aside."""
        beside = sum(n for (name, _), n in self.aside.items() if name not in self.reserved)
        return sum(self.reserved.values()) + beside

    def of(self, name: str) -> int:
        return sum(held[0] == name for held in self.held)

    def owned(self, name: str) -> int:
        return sum(count for (other, _), count in self.aside.items() if other == name)

    def on_own(self, name: str, version: str) -> int:
        return sum(h[:2] == (name, version) and h[2].provisioned for h in self.held)


@pytest.mark.parametrize("seed", range(60))
def test_no_limit_is_exceeded_and_nothing_guaranteed_is_refused(seed: int) -> None:
    chance = random.Random(seed)
    concurrency = Concurrency(LIMIT, requests_per_unit=0)
    model = Model()
    changed = dict.fromkeys(NAMES, 0)  # calls that began before the function's last change
    for _ in range(600):
        draw, name = chance.random(), chance.choice(NAMES)
        if draw < 0.04:
            count = chance.choice((None, 0, 3, 8))
            aside = model.owned(name)
            before = model.reserved.pop(name, None)
            if count is not None and count >= aside and model.taken() + count <= LIMIT - 5:
                model.reserved[name] = count
            elif before is not None and count is not None:
                model.reserved[name] = before
            elif aside + model.taken() > LIMIT:
                continue
            concurrency.reserve(*PLACE, name, model.reserved.get(name))
            changed[name] = model.of(name)
        elif draw < 0.08:
            version, count = chance.choice(("1", "2")), chance.choice((0, 2, 4))
            before = model.aside.pop((name, version), 0)
            model.aside[name, version] = count
            if model.owned(name) > model.reserved.get(name, LIMIT) or model.taken() > LIMIT - 5:
                model.aside[name, version] = count = before
            concurrency.provision(*PLACE, name, version, count)
            changed[name] = model.of(name)
        elif draw < 0.55:
            _begin(concurrency, model, name, chance.choice(VERSIONS))
        elif model.held:
            ended = model.held.pop(chance.randrange(len(model.held)))
            ended[2].release()
            ended[2].release()
            changed[ended[0]] = min(changed[ended[0]], model.of(ended[0]))
        assert len(model.held) <= LIMIT
        assert concurrency.unreserved(*PLACE) == LIMIT - model.taken()
        for each in NAMES:
            assert concurrency.running(*PLACE, each) == model.of(each)
            if each in model.reserved:
                assert model.of(each) <= max(model.reserved[each], changed[each])
    for _, _, lease in model.held:
        lease.release()
    ((_, _, place),) = concurrency.scopes()
    assert (place.running, place.unreserved) == (0, 0)
    for found in place.functions.values():
        assert (found.running, found.own) == (0, 0)
        assert all(share.running == 0 for share in found.shares.values())


def _begin(concurrency: Concurrency, model: Model, name: str, version: str) -> None:
    own = model.aside.get((name, version), 0)
    runs_on_own = model.on_own(name, version)
    try:
        lease = concurrency.lease(function(name, version=version))
    except AwsError as error:
        reason = error.fields["Reason"]
        full = len(model.held) >= LIMIT
        # What is set aside for a version is there for it, but for what was there before.
        spent = model.of(name) >= model.reserved.get(name, LIMIT)
        assert full or spent or runs_on_own >= own
        if reason.startswith("Reserved"):
            assert spent or model.of(name) >= model.reserved[name] - model.owned(name)
        else:
            assert full or name not in model.reserved
    else:
        if lease.provisioned:
            assert runs_on_own < own
        model.held.append((name, version, lease))
