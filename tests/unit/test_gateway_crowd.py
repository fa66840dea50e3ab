"""Who is given up when connections are too many."""

from __future__ import annotations

import random

import pytest

from boda.gateway.http.crowd import Crowd, greediest, owner_of


class One:
    def __init__(self, owner: str, since: float | None) -> None:
        self.owner = owner
        self.since = since
        self.gone = False

    def waits_since(self) -> float | None:
        return self.since

    def abort(self) -> None:
        self.gone = True


def test_the_oldest_of_the_greediest_goes() -> None:
    crowd = Crowd(4)
    modest = One("a", 0.0)
    greedy = [One("b", 1.0 + number) for number in range(3)]
    for one in (modest, *greedy):
        assert crowd.enter(one)
    newcomer = One("b", 9.0)
    assert crowd.enter(newcomer)
    assert [one.gone for one in (modest, *greedy, newcomer)] == [False, True, False, False, False]
    assert len(crowd) == 4


def test_nobody_goes_who_is_being_served() -> None:
    crowd = Crowd(2)
    served = [One("a", None), One("a", None)]
    for one in served:
        assert crowd.enter(one)
    newcomer = One("b", 1.0)
    assert not crowd.enter(newcomer)
    assert not any(one.gone for one in (*served, newcomer))
    crowd.leave(newcomer)
    crowd.leave(served[0])
    assert crowd.enter(One("b", 2.0))


def test_a_crowd_within_another_is_bounded_by_both() -> None:
    around = Crowd(3)
    one, two = Crowd(2, around), Crowd(2, around)
    first = [One("1", 1.0), One("1", 2.0)]
    second = [One("2", 0.0), One("2", 4.0)]
    for member in first:
        assert one.enter(member)
    for member in second:
        assert two.enter(member)
    assert [member.gone for member in (*first, *second)] == [True, False, False, False]
    one.leave(first[0])  # as it does when its connection is lost
    assert (len(one), len(two), len(around)) == (1, 2, 3)
    assert two.enter(One("2", 5.0))
    assert second[0].gone
    assert (len(two), len(around)) == (2, 3)


@pytest.mark.parametrize("seed", range(10))
def test_each_goes_in_its_turn(seed: int) -> None:
    chance = random.Random(seed)
    members = [One(chance.choice("abc"), chance.choice((None, chance.random()))) for _ in range(60)]
    left = {one for one in members if one.since is not None}
    for gone in greediest(members, 40):
        sizes = [sum(one.owner == owner for one in left) for owner in "abc"]
        own = [one.since for one in left if one.owner == gone.owner]
        assert len(own) == max(sizes)
        assert gone.waits_since() == min(own)
        left.discard(gone)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("address", "owner"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("::1", "0000:0000:0000:0000"),
        ("2001:db8:1:2:3:4:5:6", "2001:0db8:0001:0002"),
        ("2001:db8:1:2::9", "2001:0db8:0001:0002"),
        ("fe80::1%eth0", "fe80:0000:0000:0000"),
    ],
)
def test_addresses_of_one_network_are_one_owner(address: str, owner: str) -> None:
    assert owner_of(address) == owner
