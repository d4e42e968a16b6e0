"""What holds for the project as a whole: who imports whom, what is light, how long files are."""

import ast
import importlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted([*ROOT.glob("converters/**/*.py"), *ROOT.glob("edgevision/**/*.py")])
PYTHON_FILES = sorted([*SOURCES, *ROOT.glob("apps/**/*.py"), *ROOT.glob("tests/**/*.py")])

# What a file of each part may import of the project.
MAY_IMPORT = {
    "converters": {"converters"},
    "edgevision": {"edgevision", "converters"},
    "apps": {"apps", "edgevision", "converters"},
}
HEAVY = {
    "PIL",
    "coremltools",
    "matplotlib",
    "ml_dtypes",
    "mlx",
    "numpy",
    "onnx",
    "onnxruntime",
    "safetensors",
    "torch",
}
UNSAFE = {"dill", "joblib", "marshal", "pickle", "shelve"}
VAGUE = {"common", "helpers", "manager", "misc", "utils"}
FILE_LINES_MAX = 450
FUNCTION_LINES_MAX = 80


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def imported(tree: ast.Module) -> Iterator[str]:
    """The names of all modules that a file imports, wherever the statement stands."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"relative import of {node.module}"
            assert node.module
            yield node.module


def modules_after(statement: str) -> set[str]:
    """The top-level packages that a fresh interpreter holds after `statement`."""
    program = f"{statement}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in json.loads(done.stdout.splitlines()[-1])}


@pytest.mark.parametrize("part", MAY_IMPORT)
def test_imports_go_one_way(part: str) -> None:
    wrong = [
        f"{name_of(path)} imports {module}"
        for path in ROOT.glob(f"{part}/**/*.py")
        for module in imported(parse(path))
        if module.partition(".")[0] in {"apps", "converters", "edgevision", "tests"} - MAY_IMPORT[part]
    ]
    assert not wrong


HELP = """
import contextlib, io
from edgevision.cli import main
with contextlib.redirect_stdout(io.StringIO()):
    main(["{}"])
"""


@pytest.mark.parametrize(
    "statement",
    ["import converters", "import edgevision", HELP.format("--help"), HELP.format("--version")],
    ids=["converters", "edgevision", "--help", "--version"],
)
def test_imports_are_light(statement: str) -> None:
    assert modules_after(statement) & HEAVY == set()


def test_converters_stand_alone() -> None:
    assert "edgevision" not in modules_after("import converters")


def test_heavy_modules_would_be_seen() -> None:
    """The test above finds what it looks for."""
    assert {"mlx", "numpy"} <= modules_after("import numpy, mlx.core") & HEAVY


@pytest.mark.parametrize("path", PYTHON_FILES, ids=name_of)
def test_file_keeps_the_house_rules(path: Path) -> None:
    tree = parse(path)
    assert ast.get_docstring(tree) or not tree.body, "a file says in its first line what it is"
    assert path.stem not in VAGUE, "a file is a noun"
    assert len(path.read_text(encoding="utf-8").splitlines()) <= FILE_LINES_MAX
    assert UNSAFE.isdisjoint(module.partition(".")[0] for module in imported(tree)), "no pickle"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if path in SOURCES:  # a test's function may be a table of cases
                assert lines <= FUNCTION_LINES_MAX, f"{node.name} has {lines} lines"


@pytest.mark.parametrize("path", [path for path in SOURCES if "__all__" in path.read_text()], ids=name_of)
def test_listed_names_are_there(path: Path) -> None:
    """Each name of an `__all__` exists; their order is checked by ruff (RUF022)."""
    module = importlib.import_module(
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    )
    assert [name for name in module.__all__ if not hasattr(module, name)] == []
    assert len(module.__all__) == len(set(module.__all__))


def test_tests_are_no_packages() -> None:
    """A package `tests/converters` would shadow the real one."""
    assert list((ROOT / "tests").glob("**/__init__.py")) == []


def test_every_command_shows_examples() -> None:
    from typer.main import get_command

    from edgevision.cli import app

    commands = [("edgevision", get_command(app))]
    for name, command in commands:
        commands += [(f"{name} {below}", inner) for below, inner in getattr(command, "commands", {}).items()]
        if not getattr(command, "commands", {}):
            assert "Examples:" in (command.help or ""), f"{name} --help shows no examples"
            assert name in (command.help or "").partition("Examples:")[2], (
                f"the examples of {name} do not use it"
            )


def test_one_configuration_file() -> None:
    others = ["setup.py", "setup.cfg", "pytest.ini", "tox.ini", "ruff.toml", ".flake8", "pyrightconfig.json"]
    assert [name for name in others if (ROOT / name).exists()] == []
