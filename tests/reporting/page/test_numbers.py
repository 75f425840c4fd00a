"""The command, and the call in Python, that repeat a registration."""

from __future__ import annotations

import shlex
from dataclasses import replace

from sacbnet.reporting.page.numbers import again


def test_the_command_can_be_pasted_into_a_shell(registered) -> None:
    words = ("/usr/bin/sacbnet", "register", "--fixed", "my scan's.nii", "--out=a b")
    line = again(replace(registered.report, command=words))
    assert shlex.split(line) == ["sacbnet", *words[1:]]
    module = again(replace(registered.report, command=("/x/sacbnet/__main__.py", "register")))
    assert module == "python -m sacbnet register"


def test_the_call_in_python_has_the_images_and_what_was_chosen(registered) -> None:
    fixed = replace(registered.report.fixed, name="it's.nii")
    text = again(replace(registered.report, fixed=fixed, command=()))
    given = {}

    class Sacbnet:
        def register(self, **options):
            given.update(options)

    exec(text, {"sacbnet": Sacbnet()})
    options = registered.report.options
    assert given["fixed"] == "it's.nii" and given["moving"] == registered.report.moving.name
    assert given["weights"] == "none" and given["refine"] == options.refine
    assert {"fixed_labels", "moving_labels"} <= set(given)
    array = replace(registered.report.fixed, name="array")
    assert "fixed=...," in again(replace(registered.report, fixed=array, command=()))
    assert given["affine"] == options.affine and "fill" not in given
