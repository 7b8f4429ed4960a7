"""Whether somebody else works on this machine."""

from openledger_node.operator.other_processes import neighbours_from_xml
from openledger_node.operator.pause_rules import Busy, BusyPolicy, Neighbour, OtherLoad, judge

POLICY = BusyPolicy(gpu_bytes=512 << 20, cpu_percent=50, quiet_s=60)
GAME = OtherLoad(has_gpu=True, neighbours=(Neighbour(process_id=7, name="game", gpu_bytes=3 << 30),))
DESKTOP = OtherLoad(has_gpu=True, neighbours=(Neighbour(process_id=8, name="Xorg", gpu_bytes=200 << 20),))
LOUD, QUIET = OtherLoad(has_gpu=False, cpu_percent=80), OtherLoad(has_gpu=False, cpu_percent=10)


def test_a_game_on_the_gpu_counts_at_the_first_look() -> None:
    assert judge(Busy(), GAME, POLICY, now_s=0).why == "game (process 7) uses 3.2 GB of the GPU"


def test_a_desktop_does_not_count() -> None:
    assert judge(Busy(), DESKTOP, POLICY, now_s=0).why is None


def test_the_cpu_counts_only_where_no_gpu_is_used() -> None:
    busy = OtherLoad(has_gpu=True, cpu_percent=100)
    assert judge(judge(Busy(), busy, POLICY, now_s=0), busy, POLICY, now_s=1).why is None


def test_a_burst_of_the_cpu_does_not_count_but_a_second_look_does() -> None:
    first = judge(Busy(), LOUD, POLICY, now_s=0)
    assert first.why is None
    assert judge(first, QUIET, POLICY, now_s=1) == Busy()
    assert judge(first, LOUD, POLICY, now_s=1).why == "other programs use 80 % of the CPU"


def test_it_goes_on_by_itself_once_it_was_quiet_for_long_enough() -> None:
    busy = judge(Busy(), GAME, POLICY, now_s=0)
    busy = judge(busy, DESKTOP, POLICY, now_s=59)
    assert busy.why is not None
    assert judge(busy, DESKTOP, POLICY, now_s=60).why is None


def test_a_return_within_the_quiet_begins_it_anew() -> None:
    busy = judge(Busy(), GAME, POLICY, now_s=0)
    busy = judge(busy, GAME, POLICY, now_s=50)
    assert judge(busy, DESKTOP, POLICY, now_s=100).why is not None
    assert judge(busy, DESKTOP, POLICY, now_s=110).why is None


def test_what_nvidia_smi_says_is_read_whoever_it_names() -> None:
    text = """<nvidia_smi_log><gpu><processes>
    <process_info><pid>41</pid><type>G</type><process_name>C:\\Games\\game.exe</process_name>
    <used_memory>N/A</used_memory></process_info>
    <process_info><pid>42</pid><type>C</type><process_name>/usr/bin/blender</process_name>
    <used_memory>2048 MiB</used_memory></process_info>
    </processes></gpu></nvidia_smi_log>"""
    assert neighbours_from_xml(text) == (
        Neighbour(process_id=41, name="game.exe", gpu_bytes=0),
        Neighbour(process_id=42, name="blender", gpu_bytes=2 << 30),
    )
