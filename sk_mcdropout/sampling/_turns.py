"""Let threads take turns with what they change for a while: modes of modules, random states."""

import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from typing import Any

__all__ = ["ALONE", "Hold", "hold", "way_of"]

# A way to hold a thing that is never the way of another thread.
ALONE = object()


class Hold:
    """Things that a thread holds for a while, each in some way.

    Threads hold a thing side by side in one way, and wait for each other where the ways differ. A
    thread may hold a thing in another way inside; the outer way comes back after. A thread that
    waits gives back all that it holds until its turn has come, so that none waits for ever.

    Parameters
    ----------
    ways : mapping
        The things, and the way in which each is held.
    """

    def __init__(self, ways: Mapping[Any, Any]) -> None:
        self.ways = ways
        self.is_over = False

    def take(self) -> None:
        """Do what holding means; also again, or after an interrupt."""

    def give(self) -> None:
        """Undo it; also again, or after an interrupt."""


class _Thread:
    """What one thread holds, the outermost first."""

    def __init__(self) -> None:
        self.holds: list[Hold] = []
        self.turn: float = 0  # in which it waits; 0 while it runs

    def ways(self) -> dict[Any, Any]:
        return {thing: way for each in self.holds for thing, way in each.ways.items()}


# All that is known; counts of who holds what would be wrong after an interrupt. The lock is held
# for moments only, and by no thread that waits for its turn.
_threads: dict[int, _Thread] = {}
_lock = threading.RLock()
_turns = count(1)
_PAUSE = 5e-4  # seconds between two looks at whether the turn has come


def way_of(thing: Any) -> Any:
    """Return the way in which this thread holds a thing, or None."""
    thread = _threads.get(threading.get_ident())
    holds = [] if thread is None else reversed(thread.holds)
    return next((each.ways[thing] for each in holds if thing in each.ways), None)


@contextmanager
def hold(mine: Hold) -> Iterator[None]:
    """Wait for the turn of this thread, and hold things.

    Parameters
    ----------
    mine : Hold
        What to hold.
    """
    thread = _threads.setdefault(threading.get_ident(), _Thread())
    try:
        try:
            _enter(thread, mine)
            yield
        finally:
            _leave(thread, mine)
    finally:
        _leave(thread, mine)  # once more, where an interrupt has cut it short


def others_running(mine: Hold) -> Iterator[Hold]:
    """Yield what else is held just now, in this thread and in others; called by a `Hold`."""
    for thread in _threads.values():
        if not thread.turn:
            yield from (each for each in thread.holds if each is not mine)


def _enter(thread: _Thread, mine: Hold) -> None:
    with _lock:
        _threads[threading.get_ident()] = thread
        if not _must_wait(thread, bool(thread.holds), mine.ways):
            thread.holds.append(mine)
            mine.take()
            return
        inside, thread.turn = bool(thread.holds), next(_turns)
        _give_all(thread)
        thread.holds.append(mine)
    _wait(thread, inside)


def _leave(thread: _Thread, mine: Hold) -> None:
    if mine.is_over:
        return
    with _lock:
        if mine in thread.holds:
            thread.holds.remove(mine)
        if not thread.turn and _must_wait(thread, inside=True):
            thread.turn = next(_turns)
        mine.give()
        if thread.turn and thread.holds:
            _give_all(thread)
        else:
            thread.turn = 0
            for ident, each in list(_threads.items()):
                if each is thread and not thread.holds:
                    del _threads[ident]
            mine.is_over = True
            return
    _wait(thread, inside=True)
    mine.is_over = True


def _give_all(thread: _Thread) -> None:
    for each in reversed(thread.holds):
        each.give()


def _wait(thread: _Thread, inside: bool) -> None:
    while True:
        with _lock:
            if not _must_wait(thread, inside):
                turn, thread.turn = thread.turn, 0
                try:
                    for each in thread.holds:
                        each.take()
                except BaseException:
                    thread.turn = turn
                    raise
                return
        time.sleep(_PAUSE)


def _must_wait(thread: _Thread, inside: bool, more: Mapping[Any, Any] = {}) -> bool:
    """Return whether a thread must wait to hold its things, and more; called under the lock.

    It waits for threads that run, and behind those that have waited longer. One that holds
    something already is a step ahead: those that have waited longer may wait for just that.
    """
    others = [other for other in _threads.values() if other is not thread]
    ways = {**thread.ways(), **more} if others else {}  # most often there are none
    for other in others:
        if not _differ(ways, theirs := other.ways()):
            continue
        if not other.turn:
            return True
        if other.turn < (thread.turn or float("inf")) and not (inside and _is_held(other, theirs)):
            return True
    return False


def _is_held(thread: _Thread, ways: dict[Any, Any]) -> bool:
    """Return whether a thread that waits could not run at once."""
    others = (t for t in _threads.values() if t is not thread and not t.turn)
    return any(_differ(ways, other.ways()) for other in others)


def _differ(ways: dict[Any, Any], others: dict[Any, Any]) -> bool:
    """Return whether a thing is held in unlike ways."""
    return any(
        thing in others and (way is ALONE or others[thing] is not way)
        for thing, way in ways.items()
    )


def _after_fork() -> None:
    """Let go, in the child of a fork, of what the threads held that it has not."""
    global _lock
    _lock = threading.RLock()
    for ident, thread in list(_threads.items()):
        if ident != threading.get_ident():
            thread.turn = next(_turns)
            _give_all(thread)
            del _threads[ident]


if hasattr(os, "register_at_fork"):  # not on Windows, where there is no fork
    os.register_at_fork(
        before=lambda: _lock.acquire(),
        after_in_parent=lambda: _lock.release(),
        after_in_child=_after_fork,
    )
