"""Several processes that train together: real ones, started as `mlx.launch` does, connected by a ring."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edgevision import runs
from edgevision.training import checkpoints

# Of `edgevision train`, with few pictures and frequent looks and checkpoints.
PROGRAM = """
import sys
from edgevision import cli, data
from edgevision.training import loop, run
loop.SAVE_EVERY, loop.LOOK_EVERY = 4, 1
run.load = lambda name, split: data.load(name, split, 500)
sys.exit(cli.main())
"""
TRAINING = ("train", "lenet", "--data", "digits", "--batch-size", "32", "--set", "weight_decay=0.1")


def ports(count: int) -> list[int]:
    """Free ones."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    found = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return found


def start(
    count: int, folder: Path, *arguments: object, training: tuple[str, ...] = TRAINING
) -> list[subprocess.Popen[str]]:
    """`count` processes of one training; a single one is started without a ring."""
    hosts = folder / "hosts.json"
    hosts.write_text(json.dumps([[f"127.0.0.1:{port}"] for port in ports(count)]))
    ring = {"MLX_HOSTFILE": str(hosts)} if count > 1 else {}
    return [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *training, *map(str, arguments)],
            env={**os.environ, **ring, **({"MLX_RANK": str(rank)} if ring else {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(count)
    ]


def ended(processes: list[subprocess.Popen[str]]) -> list[tuple[int, str]]:
    """Exit code and stderr of each."""
    found = []
    for process in processes:
        _, err = process.communicate(timeout=120)
        found.append((process.returncode, " ".join(err.split())))
    return found


def losses(run: Path) -> list[float]:
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [record["loss"] for record in records if "loss" in record]


def test_two_processes_are_one_with_the_double_batch(tmp_path: Path) -> None:
    for count in (1, 2):
        results = ended(start(count, tmp_path, "--steps", 12, "--out", tmp_path / str(count)))
        assert [code for code, _ in results] == [0] * count, results
    one, two = losses(tmp_path / "1"), losses(tmp_path / "2")
    assert len(one) == len(two) == 12
    assert max(abs(a - b) for a, b in zip(one, two, strict=True)) < 1e-4
    accuracy = [runs.read_config(tmp_path / str(count))["result"]["test_accuracy"] for count in (1, 2)]
    assert accuracy[0] == pytest.approx(accuracy[1], abs=0.01)


def test_two_processes_train_a_language_model_as_one(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("the cat sat on the mat. the dog sat on the log. " * 60)
    training = ("train", "decoder_lm", "--data", str(text), "--context", "16", "--batch-size", "8")
    for count in (1, 2):
        results = ended(
            start(count, tmp_path, "--steps", 8, "--out", tmp_path / str(count), training=training)
        )
        assert [code for code, _ in results] == [0] * count, results
    one, two = losses(tmp_path / "1"), losses(tmp_path / "2")
    assert len(one) == len(two) == 8
    assert max(abs(a - b) for a, b in zip(one, two, strict=True)) < 1e-4


def test_a_killed_worker_ends_the_job_and_leaves_a_checkpoint(tmp_path: Path) -> None:
    """Process 1 is killed in the middle; the other says so, and all go on together with --resume."""
    run = tmp_path / "run"
    processes = start(2, tmp_path, "--steps", 40, "--out", run)
    deadline = time.monotonic() + 100
    while checkpoints.latest(run) is None and time.monotonic() < deadline:
        time.sleep(0.01)
    processes[1].send_signal(signal.SIGKILL)
    (code, told), _ = ended(processes)
    assert code == 1, told
    assert "another process of this training has ended; the checkpoint step-" in told
    assert "--resume" in told
    assert not runs.is_run(run)
    results = ended(start(2, tmp_path, "--out", run, "--resume", "--steps", 40))
    assert [code for code, _ in results] == [0, 0], results
    assert "resumed after step" in results[0][1]
    straight = ended(start(1, tmp_path, "--steps", 40, "--out", tmp_path / "straight"))
    assert straight[0][0] == 0, straight
    one, other = losses(tmp_path / "straight"), losses(run)
    assert max(abs(a - b) for a, b in zip(one, other, strict=True)) < 2e-3


def test_an_interrupt_of_one_process_stops_all_at_the_same_step(tmp_path: Path) -> None:
    run = tmp_path / "run"
    processes = start(2, tmp_path, "--steps", 4000, "--out", run)
    while checkpoints.latest(run) is None and processes[0].poll() is None:
        time.sleep(0.01)
    processes[1].send_signal(signal.SIGINT)
    results = ended(processes)
    assert [code for code, _ in results] == [130, 130], results
    steps = {told.partition("stopped after step ")[2].partition(" ")[0] for _, told in results}
    assert len(steps) == 1


def test_a_batch_that_cannot_be_shared_is_refused(tmp_path: Path) -> None:
    arguments = ("--steps", 2, "--batch-size", 31, "--out", tmp_path / "run")
    for code, told in ended(start(2, tmp_path, *arguments)):
        assert code == 2
        assert "a batch of 31 cannot be shared by 2 processes" in told


def test_a_ring_that_cannot_be_joined_is_one_line(tmp_path: Path) -> None:
    """As `mlx.launch -n 1` starts it: without hosts."""
    (tmp_path / "hosts.json").write_text("")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *TRAINING, "--steps", "2", "--out", str(tmp_path / "run")],
        env={**os.environ, "MLX_HOSTFILE": str(tmp_path / "hosts.json"), "MLX_RANK": "0"},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 1
    assert "the processes of this training cannot be joined" in done.stderr
    assert done.stderr.count("\n") == 1
