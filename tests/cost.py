"""What a call costs, in CPU time."""

import time
from collections.abc import Callable
from typing import TypeVar

Answer = TypeVar("Answer")


def answer_within(cpu_s: float, call: Callable[[], Answer], tries: int = 3) -> Answer:
    """The answer of `call`, which may use so much CPU time of this process.

    What else the machine does takes caches away and so makes a call dearer: one try within the limit is enough.
    """
    used: list[float] = []
    for _ in range(tries):
        begun = time.process_time()
        answer = call()
        used.append(time.process_time() - begun)
        if used[-1] < cpu_s:
            return answer
    raise AssertionError(
        f"used {min(used):.1f} s of CPU time or more, {tries} times; the limit is {cpu_s:g} s"
    )
