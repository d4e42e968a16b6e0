"""The `edgevision` command: its list of commands, and the one place where errors become one line.

A command is one function in one file of `edgevision/commands/`. The file imports nothing heavy at its top,
so that `edgevision --help` stays fast; the function's docstring is its help, and ends with examples after
a line that holds only `\\b`. To add a command, import its file here and add it to COMMANDS or GROUPS.
"""

import errno
import os
import sys
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer

from edgevision.commands import app as apps
from edgevision.commands import (
    bench,
    caption,
    classify,
    classify_text,
    compare,
    data,
    demo,
    evaluate,
    export,
    fill_mask,
    filter,
    generate,
    inspect,
    report,
    train,
    translate,
)
from edgevision.commands import explain as explain_model

# In the order of the help. A command is a function; a group is a `typer.Typer` with its name.
COMMANDS: tuple[Callable[..., None], ...] = (
    demo.demo,
    train.train,
    evaluate.evaluate,
    export.export,
    compare.compare,
    report.report,
    inspect.inspect,
    explain_model.explain,
    bench.bench,
    classify.classify,
    caption.caption,
    generate.generate,
    translate.translate,
    fill_mask.fill_mask,
    classify_text.classify_text,
    filter.filter,
)
GROUPS: dict[str, typer.Typer] = {"app": apps.app, "data": data.data}

app = typer.Typer(
    name="edgevision",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(asked: bool) -> None:
    if asked:
        from edgevision import __version__

        typer.echo(f"edgevision {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def edgevision(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Train small models in MLX, convert them to ONNX and Core ML, prove the result, run it on the device.

    \b
    Examples:
      edgevision demo                                          the whole road in a few minutes
      edgevision train lenet --data mnist --out runs/lenet
      edgevision export runs/lenet --to onnx --to coreml --out exported/lenet
      edgevision classify exported/lenet/lenet.mlpackage digit.png
      edgevision generate runs/shakespeare --prompt "ROMEO:"
    """
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


for _command in COMMANDS:
    app.command()(_command)
for _name, _group in GROUPS.items():
    app.add_typer(_group, name=_name)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line `arguments` (default: the process's) and return the exit code.

    0 done, 1 an error, 2 wrong usage, 130 interrupted. An error is one line on stderr; with
    EDGEVISION_DEBUG=1 in the environment its traceback is shown instead.
    """
    debug = os.environ.get("EDGEVISION_DEBUG", "") not in ("", "0")
    try:
        result: Any = app(
            args=None if arguments is None else list(arguments), prog_name="edgevision", standalone_mode=False
        )
        sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (KeyboardInterrupt, typer.Abort):
        return 130
    except Exception as error:
        if debug:
            raise
        message, hint, code = explain(error)
        print(_one_line(message, hint), file=sys.stderr)
        return code


def explain(error: Exception) -> tuple[str, str | None, int]:
    """The message, the hint and the exit code that a person gets for `error`."""
    from converters.errors import ConversionError
    from edgevision.errors import UserError

    match error:
        case UserError():
            return error.message, error.hint, error.code
        case ConversionError():
            return error.message, error.hint, 1
        case typer.TyperException():
            context: typer.Context | None = getattr(error, "ctx", None)
            hint = f"try '{context.command_path} --help'" if context else None
            return error.format_message().rstrip("."), hint, error.exit_code
        case OSError():
            return *_explain_os_error(error), 1
        case MemoryError():
            return "not enough memory", None, 1
    return (
        f"internal error, {type(error).__name__}: {error}",
        "EDGEVISION_DEBUG=1 shows where; please report it",
        1,
    )


def _explain_os_error(error: OSError) -> tuple[str, str | None]:
    where = (
        f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes | os.PathLike) else ""
    )
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT:
            return (
                f"{where}the disk is full",
                "free some space and run the command again; nothing is half-written",
            )
        case errno.EACCES | errno.EPERM | errno.EROFS:
            return f"{where}not permitted: {error.strerror}", "choose another folder or mend its permissions"
        case errno.ENOENT:
            return f"{where}no such file or folder", None
    return f"{where}{error.strerror or error}", None


def _one_line(message: str, hint: str | None) -> str:
    from edgevision.console import strip_escapes

    text = f"edgevision: {message} ({hint})" if hint else f"edgevision: {message}"
    return " ".join(strip_escapes(text).split())


__all__ = ["app", "explain", "main"]
