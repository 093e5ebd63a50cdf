"""The lock that lets one host of a folder run its timers."""

from __future__ import annotations

from pathlib import Path

from durable_ext.hosting.local.host_lock import HostLock


def test_only_one_of_two_hosts_gets_the_lock(tmp_path: Path) -> None:
    first, second = HostLock(tmp_path / "x" / "a.lock"), HostLock(tmp_path / "x" / "a.lock")

    taken = [first.try_take(), second.try_take(), first.try_take()]
    first.release()

    assert taken == [True, False, True]
    assert second.try_take()
    second.release()


def test_a_lock_can_be_released_twice(tmp_path: Path) -> None:
    lock = HostLock(tmp_path / "a.lock")
    lock.try_take()

    lock.release()
    lock.release()

    assert lock.try_take()
    lock.release()
