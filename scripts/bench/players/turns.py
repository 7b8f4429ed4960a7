"""A player's side of the pipe: one JSON object per line in, and one out. Standard library only."""

import ctypes
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable, Mapping
from typing import Any

PR_SET_PDEATHSIG = 1


def take_turns(
    open_player: Callable[[dict[str, Any]], tuple[dict[str, Any], Mapping[str, Callable[..., Any]]]],
) -> None:
    """Open the player with the words of the command line, and then do each line's request until the input ends.

    Answers go to the original stdout, and everything that libraries print goes to stderr. A player that is stopped
    by SIGSTOP can't notice the end of its parent, so the kernel kills it then.
    """
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(what: dict[str, Any]) -> None:
        print(json.dumps(what), file=answers, flush=True)

    try:
        about, verbs = open_player(json.loads(sys.argv[1]))
        answer(about)
        for line in sys.stdin:
            words = json.loads(line)
            answer(verbs[words.pop("do")](**words))
    except Exception as error:
        traceback.print_exc()
        answer({"error": f"{type(error).__name__}: {str(error).strip()[:300]}"})
