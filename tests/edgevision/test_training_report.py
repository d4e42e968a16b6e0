"""What is seen of trainings: the page of a run, the comparison of several, TensorBoard's event files."""

import json
import struct
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from edgevision.cli import main
from edgevision.training.events import FILE, Events, _checksum
from edgevision.training.watch import read_metrics

TRAINING = ("train", "lenet", "--data", "digits", "--batch-size", "16")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two runs that differ in the seed and the rate."""
    folder = tmp_path_factory.mktemp("runs")
    for name, options in (("one", ["--seed", "1"]), ("two", ["--seed", "2", "--learning-rate", "0.01"])):
        command = [*TRAINING, "--steps", "55", *options, "--out", str(folder / name), "--tensorboard"]
        assert main(command) == 0
    return [folder / "one", folder / "two"]


class Page(HTMLParser):
    """Its words, its table cells, and where anything comes from."""

    def __init__(self, path: Path):
        super().__init__()
        self.words, self.sources, self.lines = "", [], 0
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.sources += [value for name, value in attrs if name in ("src", "href")]
        self.lines += tag == "polyline"

    def handle_data(self, data: str) -> None:
        self.words += f"{data} "


def test_every_training_leaves_a_page(trained: list[Path]) -> None:
    page = Page(trained[0] / "report.html")
    config = json.loads((trained[0] / "config.json").read_text())
    assert "lenet modern on digits" in page.words
    assert f"{config['result']['test_accuracy']:.2%}" in page.words
    assert "waiting for data" in page.words
    assert "batch_size 16" in " ".join(page.words.split())
    assert page.lines == 2, "loss and accuracy"
    assert page.sources == [], "nothing is loaded from elsewhere"


def test_several_runs_are_compared(
    trained: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "comparison.html"
    assert main(["report", *map(str, trained), "--out", str(out)]) == 0
    page = Page(out)
    words = " ".join(page.words.split())
    assert "2 trainings" in words
    for path in trained:
        assert str(path) in words
    assert "learning_rate" in words, "a setting that differs"
    assert "batch_size" not in words, "a setting that does not"
    assert page.lines == 4, "loss and accuracy of both"
    assert main(["report", str(trained[0]), "--out", str(out)]) == 1
    assert "--force" in capsys.readouterr().err
    assert main(["report", str(trained[0]), "--out", str(out), "--force"]) == 0


def test_what_is_no_run_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(tmp_path), "--out", str(tmp_path / "page.html")]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def event_class() -> Any:
    """TensorFlow's Event, as far as it is written, for protobuf itself to read."""
    file = descriptor_pb2.FileDescriptorProto(name="event.proto", package="t", syntax="proto3")
    messages: dict[str, list[tuple[str, int, int, str, bool]]] = {
        "Value": [("tag", 1, 9, "", False), ("simple_value", 2, 2, "", False)],
        "Summary": [("value", 1, 11, ".t.Value", True)],
        "Event": [
            ("wall_time", 1, 1, "", False),
            ("step", 2, 3, "", False),
            ("file_version", 3, 9, "", False),
            ("summary", 5, 11, ".t.Summary", False),
        ],
    }
    for name, members in messages.items():
        message = file.message_type.add(name=name)
        for member, number, kind, of, repeated in members:
            field = message.field.add(name=member, number=number, type=kind, label=3 if repeated else 1)  # type: ignore[arg-type]
            if of:
                field.type_name = of
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("t.Event"))


def events(path: Path) -> list[Any]:
    """The events of a file whose checksums are right."""
    content, found, kind = path.read_bytes(), [], event_class()
    while content:
        (length,) = struct.unpack("<Q", content[:8])
        assert _checksum(content[:8]) == content[8:12]
        event, check = content[12 : 12 + length], content[12 + length : 16 + length]
        assert _checksum(event) == check
        found.append(kind.FromString(event))
        content = content[16 + length :]
    return found


def test_event_files_hold_what_was_recorded(trained: list[Path]) -> None:
    version, *found = events(trained[0] / FILE)
    assert version.file_version == "brain.Event:2"
    records = read_metrics(trained[0] / "metrics.jsonl")
    assert [event.step for event in found] == [record["step"] for record in records]
    for event, record in zip(found, records, strict=True):
        told = {value.tag: value.simple_value for value in event.summary.value}
        named = {f"test/{k[5:]}" if k.startswith("test_") else f"train/{k}": v for k, v in record.items()}
        del named["train/step"]
        assert told == pytest.approx(named, rel=1e-6)


def test_a_resumed_training_goes_on_with_its_event_file(tmp_path: Path) -> None:
    Events(tmp_path / "events").hear({"step": 1, "loss": 2.0})
    Events(tmp_path / "events", resumed=True).hear({"step": 300, "loss": 1.0})
    assert [event.step for event in events(tmp_path / "events")] == [0, 1, 300]
    Events(tmp_path / "events").hear({"step": 1, "loss": 2.0})
    assert [event.step for event in events(tmp_path / "events")] == [0, 1]


def test_checksums_are_those_of_the_format() -> None:
    """CRC-32C of "123456789" is E3069283 (RFC 3720's appendix has the polynomial)."""
    (masked,) = struct.unpack("<I", _checksum(b"123456789"))
    rotated = (masked - 0xA282EAD8) & 0xFFFFFFFF
    assert (rotated << 15 | rotated >> 17) & 0xFFFFFFFF == 0xE3069283
