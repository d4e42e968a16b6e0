"""Downloads from real servers on this machine: whole, resumed, damaged, refused."""

import fcntl
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tiny_set import TinySet

from edgevision.cli import main
from edgevision.data import DATA_SETS, load
from edgevision.data.download import get
from edgevision.data.sources import cache
from edgevision.errors import UserError

IMAGES = "train-images-idx3-ubyte.gz"


class Mirror(ThreadingHTTPServer):
    """Serves `files`; each answer passes `behave(name, content)`, None is a 404.

    Attributes:
        asked: (name, first byte asked for) of every request.
        ranges: whether it answers requests for a part with that part.
    """

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.files = files
        self.behave: Callable[[str, bytes], bytes | None] = lambda name, content: content
        self.asked: list[tuple[str, int]] = []
        self.ranges = True

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/"


class Answer(BaseHTTPRequestHandler):
    server: Mirror  # type: ignore[assignment]

    def do_GET(self) -> None:
        name = self.path[1:]
        start = int(self.headers.get("Range", "bytes=0-")[len("bytes=") : -1])
        self.server.asked.append((name, start))
        whole = self.server.files[name]
        sent = self.server.behave(name, whole)
        if sent is None:
            self.send_error(404)
            return
        if not self.server.ranges:
            start = 0
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(max(len(whole), len(sent)) - start))
        self.end_headers()
        self.wfile.write(sent[start:])

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def mirrors(tiny: TinySet) -> Iterator[list[Mirror]]:
    """Two mirrors of `tiny`."""
    servers = [Mirror(tiny.files) for _ in range(2)]
    threads = [
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}) for server in servers
    ]
    for thread in threads:
        thread.start()
    yield servers
    for server, thread in zip(servers, threads, strict=True):
        server.shutdown()
        thread.join()
        server.server_close()


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def half(name: str, content: bytes) -> bytes:
    return content[: len(content) // 2] if name == IMAGES else content


def test_a_set_arrives_whole(tiny: TinySet, mirrors: list[Mirror]) -> None:
    data = tiny.data_set(mirrors[0].address)
    seen: dict[str, int] = {}
    folder = get(data, lambda name, there, total: seen.update({name: there}))
    assert folder == cache() / "tiny"
    assert files_of(folder) == tiny.files
    assert seen == {name: len(content) for name, content in tiny.files.items()}
    assert get(data) == folder
    assert len(mirrors[0].asked) == 4, "what is there is not fetched again"
    assert len(load("tiny", "train")) == 300


def test_the_next_mirror_continues_what_one_began(tiny: TinySet, mirrors: list[Mirror]) -> None:
    mirrors[0].behave = half
    folder = get(tiny.data_set(*(mirror.address for mirror in mirrors)))
    assert files_of(folder) == tiny.files
    assert mirrors[1].asked == [(IMAGES, len(tiny.files[IMAGES]) // 2)]


@pytest.mark.parametrize("ranges", [True, False])
def test_the_next_command_continues(tiny: TinySet, mirrors: list[Mirror], ranges: bool) -> None:
    data = tiny.data_set(mirrors[0].address)
    mirrors[0].behave = half
    with pytest.raises(UserError, match=f"{IMAGES} of tiny cannot be downloaded: .*ended after"):
        get(data)
    middle = len(tiny.files[IMAGES]) // 2
    assert files_of(cache() / "tiny") == {f"{IMAGES}.partial": tiny.files[IMAGES][:middle]}
    mirrors[0].behave, mirrors[0].ranges = lambda name, content: content, ranges
    assert files_of(get(data)) == tiny.files
    assert mirrors[0].asked[1] == (IMAGES, middle)


def test_a_wrong_beginning_is_thrown_away(tiny: TinySet, mirrors: list[Mirror]) -> None:
    (cache() / "tiny").mkdir(parents=True)
    (cache() / "tiny" / f"{IMAGES}.partial").write_bytes(b"x" * 1000)
    assert files_of(get(tiny.data_set(mirrors[0].address))) == tiny.files
    assert mirrors[0].asked[:2] == [(IMAGES, 1000), (IMAGES, 0)]


def test_a_whole_part_needs_no_network(tiny: TinySet) -> None:
    tiny.write(cache() / "tiny")
    (cache() / "tiny" / IMAGES).rename(cache() / "tiny" / f"{IMAGES}.partial")
    assert files_of(get(tiny.data_set("http://127.0.0.1:1/"))) == tiny.files


def test_a_damaged_file_in_the_cache_is_fetched_anew(tiny: TinySet, mirrors: list[Mirror]) -> None:
    tiny.write(cache() / "tiny")
    (cache() / "tiny" / IMAGES).write_bytes(b"x" * len(tiny.files[IMAGES]))
    assert files_of(get(tiny.data_set(mirrors[0].address))) == tiny.files
    assert mirrors[0].asked == [(IMAGES, 0)]


WRONG_ANSWERS = {
    "not found": (lambda name, content: None, "Not Found"),
    "another file": (lambda name, content: content + b"x", "offers .* bytes, expected"),
    "damaged": (lambda name, content: b"x" * len(content), "its SHA-256 is"),
}


@pytest.mark.parametrize("case", WRONG_ANSWERS)
def test_a_wrong_answer_leaves_nothing(tiny: TinySet, mirrors: list[Mirror], case: str) -> None:
    mirrors[0].behave, words = WRONG_ANSWERS[case]
    with pytest.raises(UserError, match=words):
        get(tiny.data_set(mirrors[0].address))
    assert files_of(cache() / "tiny") == {}
    assert files_of(get(tiny.data_set(*(mirror.address for mirror in mirrors)))) == tiny.files


def test_no_network_is_one_line(
    tiny: TinySet, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(DATA_SETS, "tiny", tiny.data_set("http://127.0.0.1:1/", "http://127.0.0.1:2/"))
    assert main(["data", "get", "tiny"]) == 1
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert f"{IMAGES} of tiny cannot be downloaded: http://127.0.0.1:1/: " in told
    assert f"put the files into {cache() / 'tiny'}, or set EDGEVISION_DATA" in told


def test_two_downloads_do_not_meet(tiny: TinySet, mirrors: list[Mirror]) -> None:
    (cache() / "tiny").mkdir(parents=True)
    with (cache() / "tiny" / f"{IMAGES}.partial").open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(UserError, match="another process is downloading"):
            get(tiny.data_set(mirrors[0].address))
    assert mirrors[0].asked == []


def test_get_says_where(
    tiny: TinySet,
    mirrors: list[Mirror],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(DATA_SETS, "tiny", tiny.data_set(mirrors[0].address))
    assert main(["data", "get", "tiny"]) == 0
    assert capsys.readouterr() == (f"tiny: complete in {cache() / 'tiny'}\n", "")
    assert main(["data", "get", "digits"]) == 0
    assert "nothing to get" in capsys.readouterr().out


def test_an_unwritable_cache_is_one_line(
    tiny: TinySet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "home").write_text("a file where the cache should be")
    assert main(["data", "get", "tiny"]) == 1
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert str(tmp_path / "home") in told
