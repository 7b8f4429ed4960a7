"""Run one client's features against a node, and print what came of each as one JSON object.

A client is a script with an environment of its own, which its first lines name, so it imports nothing of the project.
A feature is a function of the script; its name is the column of the table.
"""

import inspect
import json
import os
import traceback

URL = os.environ["NODE_URL"]
BASE_URL = f"{URL}/v1"
KEY = os.environ["NODE_KEY"]
MODEL = os.environ["NODE_MODEL"]
QUESTION = "Name three colours."
SENTENCE_MAX = 300

CITY = {
    "type": "object",
    "properties": {"city": {"type": "string", "enum": ["Oslo", "Rome"]}},
    "required": ["city"],
    "additionalProperties": False,
}
"""Parameters of the tool that the tests call; few values, since a small model would write on."""

WEATHER = {
    "type": "function",
    "function": {"name": "weather", "description": "Weather of a city.", "parameters": CITY},
}


def check_fails(error, call) -> None:
    """Require that a call raises this error of the client's."""
    try:
        call()
    except error:
        return
    raise AssertionError(f"no {error.__name__}")


def main(client: dict) -> None:
    """Run every public function of a client's script in its order, and print what came of each."""
    features = {
        name: function
        for name, function in client.items()
        if inspect.isfunction(function) and function.__module__ == "__main__" and not name.startswith("_")
    }
    print(json.dumps({name: run(function) for name, function in features.items()}))


def run(function) -> str:
    """The word "ok", or one line that says what failed."""
    try:
        function()
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        said = " ".join(f"{type(error).__name__}: {error}".split())
        return f"{said[:SENTENCE_MAX]} ({os.path.basename(where.filename)}:{where.lineno})"
    return "ok"
