"""docs/reference/kernels.md lists what is there: every kernel that a launcher starts, as it is compiled in CI."""

import importlib
import inspect
import pkgutil
import re
from collections import Counter
from importlib.util import module_from_spec, spec_from_file_location
from typing import Any

import pytest
from support.processes.nodes import ROOT

from openledger_node.backends.cuda import kernels

MODULES = [module.name for module in pkgutil.iter_modules(kernels.__path__)]


@pytest.fixture(scope="module")
def table() -> Any:
    spec = spec_from_file_location("kernel_table", ROOT / "scripts" / "kernel_table.py")
    assert spec
    assert spec.loader
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def source_of(module: str) -> str:
    return inspect.getsource(importlib.import_module(f"{kernels.__name__}.{module}"))


def cases_of(module: str, table: Any) -> list[str]:
    return [f"{module}.{case.kernel.__name__} {case.label}".strip() for case in table.cases_of(module)]


def test_the_page_has_a_row_for_every_case_of_every_kernel(table: Any) -> None:
    rows = re.findall(r"^\| `([^`]+)` \|", table.PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    cases = dict.fromkeys(case for module in MODULES for case in cases_of(module, table))
    assert rows == list(cases), "run `make kernels ARGS=--write-docs`"


@pytest.mark.parametrize("module", MODULES)
def test_every_kernel_that_is_launched_is_compiled(module: str, table: Any) -> None:
    """A kernel that no other kernel calls is launched. Another one may do its work on some cards."""
    jitted = re.findall(r"^@triton\.jit(?:\(.*\))?\n(?:.*\n)?def (\w+)\(", source_of(module), re.MULTILINE)
    everything = "".join(map(source_of, MODULES))
    launched = {name for name in jitted if not re.search(rf"(?<!def )\b{name}\(", everything)}
    cases = table.cases_of(module)
    assert launched == {case.kernel.__name__ for case in cases}
    if launched:
        assert all(any(case.is_for(target) for case in cases) for target in table.TARGETS)


def test_no_card_has_two_cases_of_one_name(table: Any) -> None:
    for target in table.TARGETS:
        names = Counter(
            f"{module}.{case.kernel.__name__} {case.label}"
            for module in MODULES
            for case in table.cases_of(module)
            if case.is_for(target)
        )
        assert [name for name, count in names.items() if count > 1] == []
