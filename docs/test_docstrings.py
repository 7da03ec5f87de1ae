"""Every example in a docstring runs.

Owns the search for them. What an example needs it imports or makes itself.
"""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import falq
from falq import testing


def examples() -> list[doctest.DocTest]:
    finder = doctest.DocTestFinder(exclude_empty=True)
    found: dict[str, doctest.DocTest] = {}
    # Examples in `testing` may use what stands beside them on its page.
    beside = {name: getattr(testing, name) for name in testing.__all__}
    for module in pkgutil.walk_packages(falq.__path__, "falq."):
        if module.name == "falq.__main__":
            continue
        loaded = importlib.import_module(module.name)
        for test in finder.find(loaded, module.name, extraglobs=beside):
            if test.examples:
                found[test.name] = test
    # A public class says that it lives in `falq`, so its own module does not own it.
    for name in falq.__all__:
        value = getattr(falq, name)
        # False: nothing that it holds is passed over for living elsewhere.
        for test in finder.find(value, f"falq.{name}", module=False, globs={name: value}):
            if test.examples:
                found[test.name] = test
    return list(found.values())


@pytest.mark.slow
@pytest.mark.parametrize("example", examples(), ids=lambda example: example.name)
def test_an_example_in_a_docstring_runs_as_printed(example: doctest.DocTest) -> None:
    said: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    runner.run(example, out=said.append)
    assert runner.failures == 0, "".join(said)


def test_the_face_of_falq_has_an_example() -> None:
    assert "falq.Session" in {example.name for example in examples()}
