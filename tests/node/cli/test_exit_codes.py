"""One exit code for words that can't be understood: 2, from every command, before it does anything."""

from collections.abc import Iterator

import pytest
from node.cli.verbs import Run

from openledger_node.cli.command_tree import PROGRAM, Command, Parameter, load_tree
from openledger_node.home import Home

WRONG = {
    "AMOUNT": "abc",
    "SIZE": "20XB",
    "PERCENT": "abc",
    "DURATION": "soon",
    "TIME": "tomorrow",
    "HH:MM": "25:00",
    "HOURS": "foo",
    "SECONDS": "abc",
    "N": "abc",
    "NUMBER": "abc",
    "KEY=VALUE": "minStake",
    "SETTING": "api.prot",
}
"""A value of each kind that nobody can mean. Kinds whose every text may be right, such as names, are not here."""

RIGHT = {"AMOUNT": "1", "N": "1", "SETTING": "api.port", "ADDRESS": "0x" + "11" * 20}
"""Values for what else a command needs. A file need not exist: the wrong value is found first."""


def lines() -> Iterator[list[str]]:
    """Each command with one wrong value, and right ones where it needs them."""
    for command in load_tree().walk():
        for parameter in command.parameters if not command.commands else ():
            if wrong := "none-of-them" if parameter.choices else WRONG.get(parameter.kind):
                yield words_of(command, parameter, wrong)


def words_of(command: Command, wrong: Parameter, value: str) -> list[str]:
    words = command.path.removeprefix(f"{PROGRAM} ").split()
    for each in command.options:
        if each is wrong or each.is_required:
            words += [each.names[0], value if each is wrong else RIGHT.get(each.kind, "/nowhere/x")]
    for each in command.arguments:
        if each is wrong:
            return [*words, value]
        if each.is_required or wrong in command.arguments:
            words.append(RIGHT.get(each.kind, each.choices[0] if each.choices else "x"))
    return words


def test_a_wrong_value_ends_with_2_in_every_command_that_takes_one(run: Run, home: Home) -> None:
    found = [(words, run(*words)) for words in lines()]
    assert len(found) > 80
    others = [f"{' '.join(words)}: {ran.status}, {ran.stderr}" for words, ran in found if ran.status != 2]
    assert not others, "".join(others)
    for words, ran in found:
        assert ran.stdout == "", words
        assert ran.stderr.startswith("error "), words
    assert not home.config_file.exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["price", "set", "-1"],
            "-1 starts like an option. No value here is below 0, but for settings: write `-- -1`.",
        ),
        (["price", "set"], "give a price"),
        (["contributor", "show", "0x12"], "0x12"),
        (["pause", "--for", "1h", "--until", "18:00"], "give one of them"),
        (["jobs", "--limit", "0"], "--limit"),
        (["chat", "--json"], "--json needs a QUESTION"),
        (["config", "set", "api.port", "70000"], "the most is 65535"),
    ],
    ids=" ".join,
)
def test_the_message_says_what_is_wrong(run: Run, words: list[str], said: str) -> None:
    ran = run(*words)
    assert (ran.status, ran.stdout) == (2, "")
    assert said in ran.stderr
