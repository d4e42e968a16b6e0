"""The process in which Apple's runtime works, and the pipe to it.

The runtime ends its process for an input of a wrong rank or a damaged asset, and keeps the weights of every
asset that it ever opened. So it runs in one process of its own, which is started when it is first needed, and
anew where it died or has opened many. A message is a length, a JSON object, and the bytes of the arrays that
the object describes.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from converters.dtypes import numpy_dtype
from converters.errors import ConversionError

OPENED_MAX = 200  # assets, then the process is replaced
BYTES_MAX = 2**31  # of programs that were opened
HEADER_MAX = 2**26  # bytes
Arrays = Mapping[str, np.ndarray]


class Died(ConversionError):
    """The process ended while it worked."""


def send(pipe: IO[bytes], message: Mapping[str, Any], groups: Mapping[str, Arrays]) -> None:
    """One message with named groups of arrays."""
    parts, described = [], {}
    for group, arrays in groups.items():
        described[group] = {name: [a.dtype.name, list(a.shape)] for name, a in arrays.items()}
        parts += [np.array(array, order="C", copy=None) for array in arrays.values()]
    header = json.dumps({**message, "arrays": described}).encode()
    pipe.write(len(header).to_bytes(8, "little") + header)
    for part in parts:
        pipe.write(part.reshape(-1).view(np.uint8).data if part.size else b"")
    pipe.flush()


def receive(pipe: IO[bytes]) -> tuple[dict[str, Any], dict[str, dict[str, np.ndarray]]]:
    """The message and its arrays; EOFError where the other side has ended."""
    length = int.from_bytes(_exactly(pipe, 8), "little")
    if length > HEADER_MAX:
        raise EOFError
    message = json.loads(_exactly(pipe, length))
    groups: dict[str, dict[str, np.ndarray]] = {}
    for group, arrays in message.pop("arrays").items():
        groups[group] = {}
        for name, (dtype, shape) in arrays.items():
            array = np.empty(shape, numpy_dtype(dtype))
            if array.size:
                array.reshape(-1).view(np.uint8)[:] = np.frombuffer(_exactly(pipe, array.nbytes), np.uint8)
            groups[group][name] = array
    return message, groups


def _exactly(pipe: IO[bytes], count: int) -> bytes:
    data = pipe.read(count)
    if len(data) != count:
        raise EOFError
    return data


class Worker:
    """The other process, seen from here. Assets are opened there by path when they are first run."""

    def __init__(self) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="edgevision-coreai-")
        self.log = open(Path(self.folder.name, "log"), "wb")  # noqa: SIM115
        root = str(Path(__file__).parents[3])
        search = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
        self.process = subprocess.Popen(
            [sys.executable, "-m", "converters.targets.coreai.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            env={**os.environ, "PYTHONPATH": search, "TMPDIR": self.folder.name},
        )
        self.opened: dict[str, int] = {}
        self.bytes = 0

    def ask(
        self, message: Mapping[str, Any], groups: Mapping[str, Arrays] | None = None
    ) -> tuple[dict[str, Any], dict[str, dict[str, np.ndarray]]]:
        """The answer.

        Raises:
            Died: the process ended.
            ConversionError: what it says in place of an answer.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            send(self.process.stdin, message, groups or {})
            answer, results = receive(self.process.stdout)
        except (EOFError, BrokenPipeError, ValueError) as error:
            code = self.process.wait()
            raise Died(f"Core AI's runtime ended ({_ending(code)})") from error
        if "error" in answer:
            raise ConversionError(answer["error"])
        return answer, results

    def close(self) -> None:
        """End the process and remove what it compiled."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()
        self.log.close()
        self.folder.cleanup()


def _ending(code: int) -> str:
    import signal

    return signal.Signals(-code).name if code < 0 else f"exit code {code}"


_current: list[Worker] = []


def current() -> Worker:
    """The process; a new one where there is none, or it has died or opened much."""
    if _current:
        worker = _current[0]
        full = len(worker.opened) >= OPENED_MAX or worker.bytes > BYTES_MAX
        if worker.process.poll() is None and not full:
            return worker
        close()
    _current.append(Worker())
    return _current[0]


@atexit.register
def close() -> None:
    """End the process, if there is one."""
    while _current:
        _current.pop().close()


def main() -> None:
    """Serve requests from standard input until it ends."""
    source, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what the runtime prints must not be taken for an answer
    from converters.targets.coreai.beta import Runtime

    opened: dict[str, Any] = {}
    while True:
        try:
            request, groups = receive(source)
        except EOFError:
            break
        try:
            key = request["key"]
            if key not in opened:
                opened[key] = Runtime(Path(request["path"]))
            if request["do"] == "run":
                outputs, states = opened[key].run(request["function"], groups["inputs"], groups["states"])
                send(answers, {}, {"outputs": outputs, "states": states})
            else:
                asked = request["do"] == "inspect"
                found = opened[key].operations() if asked else {"widened": opened[key].widened}
                send(answers, found, {})
        except Exception as error:
            send(answers, {"error": f"{type(error).__name__}: {error}"}, {})
    for runtime in opened.values():
        runtime.close()


if __name__ == "__main__":
    main()
