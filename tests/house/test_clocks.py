"""The clock of tests that wait minutes in no time."""

import threading

import trio
import trio.testing

WORK_S = 0.05


async def test_time_jumps_where_all_wait_for_it_and_stands_while_a_thread_works(
    autojump_clock: trio.testing.MockClock,
) -> None:
    began_s = trio.current_time()
    with trio.move_on_after(1) as scope:
        await trio.to_thread.run_sync(threading.Event().wait, WORK_S)
    assert not scope.cancelled_caught
    assert trio.current_time() == began_s
    await trio.sleep(3_600)
    assert trio.current_time() == began_s + 3_600
