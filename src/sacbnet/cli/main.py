"""The `sacbnet` command: its verbs, and how errors become one sentence and an exit code.

docs/reference/command-line.md lists the codes.
"""

from __future__ import annotations

import errno
import os
import sys
from typing import Annotated, Any

import typer

from sacbnet.environment import VERSION
from sacbnet.errors import SacbnetError, shortened

from . import (
    apply,
    benchmark,
    cohort,
    convert,
    convert_transform,
    data,
    demo,
    evaluate,
    info,
    register,
    template,
    train,
    view,
    weights,
)
from .streams import steady_streams

USAGE, INPUT, OUTPUT, INTERRUPTED = 2, 3, 5, 130
# click's, or typer's own copy of it: its versions differ
UsageError: Any = typer.BadParameter.__base__

app = typer.Typer(
    name="sacbnet",
    help="Learned registration of 3-D medical images (SACB-Net): from NIfTI or DICOM files to"
    " transforms that other programs read.",
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("register", epilog=register.EPILOG)(register.register)
app.command("apply", epilog=apply.EPILOG)(apply.apply)
app.command("cohort", epilog=cohort.EPILOG)(cohort.cohort)
app.command("template", epilog=template.EPILOG)(template.template)
app.command("convert", epilog=convert_transform.EPILOG)(convert_transform.convert)
app.command("info")(info.info)
app.command("view", epilog=view.EPILOG)(view.view)
app.command("demo")(demo.demo)
app.command("train", epilog=train.EPILOG)(train.train)
app.add_typer(data.app, name="data")
app.command("evaluate", epilog=evaluate.EPILOG)(evaluate.evaluate)
app.command("benchmark", epilog=benchmark.EPILOG)(benchmark.benchmark)
app.add_typer(weights.app, name="weights")
app.command("convert-checkpoint")(convert.convert_checkpoint)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"sacbnet {VERSION}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line; exit with 0, or with the code of the error (see `sacbnet.errors`)."""
    # Other processes may share the cores. Threads of torch that spin while they wait would slow
    # down both severalfold.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    with steady_streams() as lost:
        _run()
    if lost():
        sys.exit(OUTPUT)


def _run() -> None:
    try:
        code = app(sys.argv[1:] or ["--help"], prog_name="sacbnet", standalone_mode=False)
    except SacbnetError as error:
        fail(str(error), error.exit_code)
    except UsageError as error:
        command = error.ctx.command_path if error.ctx else "sacbnet"
        fail(f"{error.format_message().rstrip('.')} (see {command} --help)", USAGE)
    except KeyboardInterrupt:
        code = INTERRUPTED
    except OSError as error:
        fail(*_of_the_system(error))
    except (MemoryError, RuntimeError) as error:  # torch and ITK raise RuntimeError
        if isinstance(error, RuntimeError) and "memory" not in str(error).lower():
            raise
        fail(
            "the memory is not enough for images of this size; use a coarser --spacing or a larger"
            " machine",
            1,
        )
    if code == INTERRUPTED:  # typer turns Ctrl-C into this code
        fail("interrupted; nothing was written", INTERRUPTED)


def _of_the_system(error: OSError) -> tuple[str, int]:
    """The sentence and the exit code of an error that no verb expected."""
    what, reason = error.filename or "a file", error.strerror or type(error).__name__
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS):
        return f"{what} could not be written ({reason}); free some space and run again", OUTPUT
    return f"{what} cannot be used ({reason}); check the path", INPUT


def fail(sentence: str, code: int) -> None:
    """Print a sentence as the error of this command, and end with an exit code."""
    sentence = shortened(" ".join(sentence.splitlines()))
    typer.echo(f"sacbnet: error: {sentence}", err=True)
    sys.exit(code)


if __name__ == "__main__":
    main()
