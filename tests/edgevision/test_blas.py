"""The fast BLAS: in place before mlx.core, safe to load, and absent when it should be."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edgevision import blas

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux needs another BLAS")

# OpenBLAS never starts more threads than the process may use cores.
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1

REPORT = """
import json
print(json.dumps(edgevision.blas.status().as_dict()))
"""


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache with the copy in it, for the tests that do not harm it."""
    folder = tmp_path_factory.mktemp("cache")
    assert run("import edgevision, mlx.core" + REPORT, folder)["state"] == "loaded"
    return folder


def run_process(program: str, cache: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    variables = {name: value for name, value in os.environ.items() if name != "EDGEVISION_BLAS"}
    variables |= {"XDG_CACHE_HOME": str(cache)} | environment
    return subprocess.run([sys.executable, "-c", program], env=variables, capture_output=True, text=True)


def run(program: str, cache: Path, **environment: str) -> Any:
    """The JSON that `program` prints; its warnings are errors."""
    done = run_process("import warnings; warnings.simplefilter('error')\n" + program, cache, **environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def copies(cache: Path) -> list[Path]:
    return sorted((cache / "edgevision" / "blas").iterdir())


def test_import_loads_nothing(tmp_path: Path) -> None:
    program = (
        "import edgevision, json, sys; print(json.dumps([m for m in sys.modules if m.startswith('mlx')]))"
    )
    assert run(program, tmp_path) == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("first", ["", "import numpy\n", "import numpy, onnxruntime\n"])
def test_products_are_taken_over(cache: Path, first: str) -> None:
    """The loader itself says that MLX's product is bound to the copy, and the product is right."""
    program = """
import edgevision, mlx.core as mx, numpy as np
a, b = (np.random.default_rng(seed).normal(size=(300, 200)).astype(np.float32) for seed in (1, 2))
assert np.allclose(np.array(mx.array(a) @ mx.array(b).T), a @ b.T, rtol=1e-4, atol=1e-3)
"""
    log = cache / "bindings"
    status = run(first + program + REPORT, cache, LD_DEBUG="bindings", LD_DEBUG_OUTPUT=str(log))
    assert status["state"] == "loaded"
    assert "OpenBLAS" in status["build"]
    bound = [
        line
        for file in cache.glob("bindings.*")
        for line in file.read_text(errors="replace").splitlines()
        if "libmlx.so" in line.split(" to ")[0] and "`cblas_sgemm'" in line
    ]
    assert bound
    assert all(status["library"] in line for line in bound)
    for file in cache.glob("bindings.*"):
        file.unlink()


def test_off(cache: Path) -> None:
    assert run("import edgevision, mlx.core" + REPORT, cache, EDGEVISION_BLAS="off")["state"] == "off"


def test_too_late_warns_once_with_the_cure(cache: Path) -> None:
    program = "import mlx.core, edgevision, edgevision.cli; edgevision.blas.arrange()" + REPORT
    done = run_process(program, cache)
    assert json.loads(done.stdout)["state"] == "late"
    assert done.stderr.count("RuntimeWarning") == 1
    assert "`import edgevision` first" in done.stderr
    assert run(program, cache, EDGEVISION_BLAS="off")["state"] == "off"


def test_copy_is_made_once_for_the_user_alone(tmp_path: Path) -> None:
    program = "import edgevision, mlx.core" + REPORT
    first = run(program, tmp_path)
    (copy,) = copies(tmp_path)
    made = copy.stat()
    assert str(copy) == first["library"]
    assert made.st_mode & 0o777 == 0o500
    assert copy.parent.stat().st_mode & 0o777 == 0o700
    assert run(program, tmp_path) == first
    assert copy.stat().st_mtime_ns == made.st_mtime_ns


def damage(copy: Path) -> None:
    copy.chmod(0o700)
    content = bytearray(copy.read_bytes())
    content[len(content) // 2] ^= 1
    copy.write_bytes(content)
    copy.chmod(0o500)


def replace_by_link(copy: Path) -> None:
    copy.rename(copy.parent.parent / "elsewhere.so")
    copy.symlink_to(copy.parent.parent / "elsewhere.so")


def open_to_all(copy: Path) -> None:
    copy.chmod(0o777)


def truncate(copy: Path) -> None:
    copy.chmod(0o700)
    os.truncate(copy, 1000)


@pytest.mark.parametrize("harm", [damage, open_to_all, truncate, replace_by_link])
def test_unsound_copy_is_not_loaded_but_made_again(tmp_path: Path, cache: Path, harm) -> None:
    shutil.copytree(cache, tmp_path, dirs_exist_ok=True)
    (copy,) = copies(tmp_path)
    harm(copy)
    assert run("import edgevision, mlx.core" + REPORT, tmp_path)["state"] == "loaded"
    (again,) = copies(tmp_path)
    assert again.read_bytes() == copies(cache)[0].read_bytes()
    assert not again.is_symlink()
    assert again.stat().st_mode & 0o777 == 0o500


def make_folder_public(folder: Path) -> None:
    folder.mkdir(parents=True)
    folder.chmod(0o755)


def make_folder_a_link(folder: Path) -> None:
    folder.parent.mkdir(parents=True)
    (folder.parent / "real").mkdir(mode=0o700)
    folder.symlink_to(folder.parent / "real")


def make_folder_a_file(folder: Path) -> None:
    folder.parent.mkdir(parents=True)
    folder.write_text("x")


@pytest.mark.parametrize("prepare", [make_folder_public, make_folder_a_link, make_folder_a_file])
def test_unsafe_cache_is_not_used(tmp_path: Path, prepare) -> None:
    prepare(tmp_path / "edgevision" / "blas")
    done = run_process("import edgevision, mlx.core" + REPORT, tmp_path)
    assert done.returncode == 0
    status = json.loads(done.stdout)
    if status["state"] == "loaded":  # this system has its own OpenBLAS
        assert status["library"] == "libopenblas.so.0"
    else:
        assert done.stderr.count("RuntimeWarning") == 1
        assert str(tmp_path / "edgevision" / "blas") in status["reason"]


WITHOUT_THE_WHEEL = "import sys; sys.modules['scipy_openblas32'] = None\nimport edgevision, mlx.core"


def test_library_of_the_system_serves_without_the_wheel(tmp_path: Path, cache: Path) -> None:
    """Any library of that name which exports the products, here our own copy in the place of Debian's."""
    shutil.copy(copies(cache)[0], tmp_path / "libopenblas.so.0")
    status = run(WITHOUT_THE_WHEEL + REPORT, tmp_path / "cache", LD_LIBRARY_PATH=str(tmp_path))
    assert (status["state"], status["library"]) == ("loaded", "libopenblas.so.0")


def test_library_without_the_products_is_refused(tmp_path: Path) -> None:
    """The wheel's own file has other names and must not pass for a BLAS that MLX could call."""
    import scipy_openblas32

    assert scipy_openblas32.__file__
    shutil.copy(
        Path(scipy_openblas32.__file__).parent / "lib" / "libscipy_openblas.so", tmp_path / "libopenblas.so.0"
    )
    done = run_process(WITHOUT_THE_WHEEL + REPORT, tmp_path / "cache", LD_LIBRARY_PATH=str(tmp_path))
    status = json.loads(done.stdout)
    assert status["state"] == "failed"
    assert "scipy-openblas32 is not installed" in status["reason"]
    assert "has no cblas_sgemm" in status["reason"]
    assert "products will be slow" in done.stderr


def test_two_first_starts_at_once(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", "-c", "import edgevision, mlx.core" + REPORT]
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path), "EDGEVISION_BLAS": ""}
    started = [
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    states = [json.loads(process.communicate()[0])["state"] for process in started]
    assert states == ["loaded"] * 3
    assert len(copies(tmp_path)) == 1


def test_threads_are_set_for_a_block(cache: Path) -> None:
    program = """
import ctypes, json, edgevision, mlx.core
count = ctypes.CDLL(edgevision.blas.status().library).scipy_openblas_get_num_threads
counts = [count()]
with edgevision.blas.threads(1):
    counts.append(count())
with edgevision.blas.threads(None):
    counts.append(count())
print(json.dumps([*counts, count()]))
"""
    most = min(2, CORES)
    assert run(program, cache, OPENBLAS_NUM_THREADS="2") == [most, 1, most, most]


def test_threads_without_a_fast_blas(cache: Path) -> None:
    program = "import edgevision\nwith edgevision.blas.threads(1):\n    import mlx.core\nprint('{}')"
    assert run(program, cache, EDGEVISION_BLAS="off") == {}


QUOTAS = {
    "version 2": ({"cpu.max": "150000 100000"}, 1.5),
    "version 2, none": ({"cpu.max": "max 100000"}, None),
    "version 1": ({"cpu/cpu.cfs_quota_us": "200000", "cpu/cpu.cfs_period_us": "100000"}, 2),
    "version 1, none": ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
    "nothing": ({}, None),
    "damaged": ({"cpu.max": ""}, None),
}


@pytest.mark.parametrize(("files", "expected"), QUOTAS.values(), ids=QUOTAS)
def test_quota_of_a_container(tmp_path: Path, files: dict[str, str], expected: float | None) -> None:
    (tmp_path / "cpu").mkdir()
    for name, content in files.items():
        (tmp_path / name).write_text(content + "\n")
    assert blas.quota(tmp_path) == expected


@pytest.mark.parametrize(
    ("environment", "expected"), [({}, 1), ({"OPENBLAS_NUM_THREADS": "2"}, min(2, CORES))]
)
def test_threads_keep_to_the_quota(cache: Path, environment: dict[str, str], expected: int) -> None:
    """Fewer threads than cores where a container may not run them; what the user asks for wins."""
    program = """
import ctypes, edgevision
edgevision.blas.quota = lambda: 1.2
import mlx.core
print(ctypes.CDLL(edgevision.blas.status().library).scipy_openblas_get_num_threads())
"""
    assert run(program, cache, **environment) == expected
