"""How long somebody in a line may have to wait for a slot, by how fast the line has moved."""

from __future__ import annotations

import math

from durable_ext.aio.slots import PlaceInLine, Slots


def line_of(waiting: int) -> Slots:
    """One slot, which is in use."""
    slots = Slots(1)
    slots.try_take()
    for _ in range(waiting):
        slots.stand_in_line()
    return slots


async def test_in_a_line_that_stands_still_nobody_knows() -> None:
    place = PlaceInLine(line_of(3), 100.0)

    assert place.seconds_left(110.0) == math.inf


async def test_those_ahead_take_as_long_as_those_before_them() -> None:
    slots = line_of(9)
    place = PlaceInLine(slots, 100.0)  # the tenth
    for _ in range(4):
        slots.give_back()

    assert place.seconds_left(102.0) == 6 * 0.5


async def test_who_comes_later_does_not_count() -> None:
    slots = line_of(1)
    place = PlaceInLine(slots, 100.0)
    for _ in range(100):
        slots.stand_in_line()
    slots.give_back()

    assert place.seconds_left(101.0) == 1.0


async def test_at_the_head_of_the_line_it_is_a_moment() -> None:
    slots = line_of(2)
    place = PlaceInLine(slots, 100.0)
    slots.stand_in_line()
    for _ in range(3):
        slots.give_back()

    assert place.seconds_left(101.0) == 0.0
