"""The error boundary: one line, the right exit code, no traceback, no terminal escapes."""

import os
import subprocess
import sys

import pytest

from edgevision import __version__

# A command that raises what the test asks for; everything else is the real program.
RAISES = """
import errno, os, sys
import typer
from converters.errors import *
from edgevision.errors import *
from edgevision import cli

@cli.app.command()
def fail() -> None:
    "Fail. Examples: fail"
    {statement}

sys.exit(cli.main(sys.argv[1:]))
"""


def run(*arguments: str, program: str | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *(["-c", program] if program else ["-m", "edgevision"]), *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | environment)


def fail(statement: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return run("fail", program=RAISES.format(statement=statement), **environment)


def test_help_and_version() -> None:
    for arguments in ((), ("--help",), ("-h",)):
        done = run(*arguments)
        assert (done.returncode, done.stderr) == (0, "")
        assert "edgevision train lenet --data mnist" in done.stdout
    assert run("--version").stdout == f"edgevision {__version__}\n"


@pytest.mark.parametrize(
    "arguments", [["nonsense"], ["--nonsense"], ["fail", "too much"], ["fail", "--nonsense"]]
)
def test_wrong_usage_is_one_line_and_2(arguments: list[str]) -> None:
    done = run(*arguments, program=RAISES.format(statement="pass"))
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("edgevision: ")
    assert done.stderr.count("\n") == 1
    assert "--help" in done.stderr


ERRORS = {
    "user": ("raise UserError('no weights', 'train first')", 1, "no weights (train first)"),
    "usage": ("raise UsageError('unknown model: x')", 2, "unknown model: x"),
    "own code": ("raise UserError('odd', code=7)", 7, "odd"),
    "conversion": ("raise UnsupportedOp('no rule for FFT', 'avoid it')", 1, "no rule for FFT (avoid it)"),
    "many lines": ("raise ConversionError('a\\n  b\\n\\n  c')", 1, "a b c"),
    "missing": ("open('nowhere.png')", 1, "nowhere.png: no such file or folder"),
    "a folder": ("open('/')", 1, "/: Is a directory"),
    "disk full": (
        "raise OSError(errno.ENOSPC, 'No space left on device', 'runs/a')",
        1,
        "runs/a: the disk is full (free some space and run the command again; nothing is half-written)",
    ),
    "forbidden": (
        "raise PermissionError(errno.EACCES, 'Permission denied', b'runs')",
        1,
        "runs: not permitted: Permission denied (choose another folder or mend its permissions)",
    ),
    "no file named": ("raise OSError('a plain message')", 1, "a plain message"),
    "memory": ("raise MemoryError", 1, "not enough memory"),
    "escapes": ("raise UserError('\\x1b[31mred\\x1b[0m \\x1b]0;title\\x07\\u202ename')", 1, "red name"),
    "bug": (
        "1 / 0",
        1,
        "internal error, ZeroDivisionError: division by zero "
        "(EDGEVISION_DEBUG=1 shows where; please report it)",
    ),
}


@pytest.mark.parametrize(("statement", "code", "line"), ERRORS.values(), ids=ERRORS.keys())
def test_error_is_one_line(statement: str, code: int, line: str) -> None:
    done = fail(statement)
    assert (done.returncode, done.stdout, done.stderr) == (code, "", f"edgevision: {line}\n")


def test_debug_shows_the_traceback() -> None:
    done = fail("raise UserError('no weights')", EDGEVISION_DEBUG="1")
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "Traceback" not in fail("raise UserError('no weights')", EDGEVISION_DEBUG="0").stderr


def test_exit_codes_of_commands_and_interruption() -> None:
    assert fail("raise typer.Exit(3)").returncode == 3
    interrupted = fail("raise KeyboardInterrupt")
    assert (interrupted.returncode, interrupted.stderr) == (130, "")


def test_reader_that_leaves_early() -> None:
    """`edgevision … | head` ends without a complaint."""
    read, write = os.pipe()
    os.close(read)
    program = RAISES.format(statement="[print('x' * 1000) for _ in range(1000)]")
    with os.fdopen(write, "w") as closed:
        done = subprocess.run(
            [sys.executable, "-c", program, "fail"], stdout=closed, stderr=subprocess.PIPE, text=True
        )
    assert (done.returncode, done.stderr) == (1, "")
