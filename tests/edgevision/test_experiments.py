"""The experiments of `docs/experiments`, on a few pictures and steps: every cell is there, and is kept."""

import json
from dataclasses import asdict

import numpy as np
import pytest

from edgevision import runs
from edgevision.data.captions import CaptionSet
from edgevision.errors import UserError
from edgevision.experiments import captions, curves, data_size, fine_tuning
from edgevision.inference.caption_evaluation import Judged
from edgevision.models import vit
from edgevision.report.training import Training


def test_data_size(tmp_path):
    settings = data_size.Settings((0.01, 1.0), 2, 8, "tiny", "tiny", "digits", 20)
    table = data_size.run(settings, tmp_path)
    assert len(table) == 2 * 2 * 2
    assert (tmp_path / "data-size.png").read_bytes().startswith(b"\x89PNG")
    page = (tmp_path / "data-size.md").read_text()
    assert f"{table['vit 0.01 changed']['accuracy']:.1%}" in page
    assert "| 1% | 120 |" in page
    assert data_size.run(settings, tmp_path) == table  # with the same seconds: nothing was trained again
    kept = json.loads((tmp_path / "data-size" / "results.json").read_text())
    assert kept["table"] == table


@pytest.mark.parametrize(
    ("vit_line", "expected"),
    [((0.1, 0.2, 0.9), 1.0), ((0.6, 0.2, 0.3), None), ((0.6, 0.7, 0.8), 0.01), ((0.9, 0.1, 0.5), 1.0)],
)
def test_the_crossing_is_where_the_vit_stays_ahead(vit_line, expected):
    settings = data_size.Settings((0.01, 0.1, 1.0))
    table = {}
    for share, cnn, other in zip(settings.shares, (0.5, 0.5, 0.5), vit_line, strict=True):
        for changed in (False, True):
            table[data_size.name_of("cnn", share, changed)] = {"accuracy": cnn, "seconds": 1.0}
            table[data_size.name_of("vit", share, changed)] = {"accuracy": other, "seconds": 1.0}
    assert data_size.crossing(settings, table, True) == expected
    told = "do not cross" if expected is None else f"from {expected:.0%} of the pictures on"
    assert told in data_size.page(settings, table, 1000)


def test_fine_tuning(tmp_path):
    config = vit.Config(16, 4, 3, 4, layers=2, heads=2, width=16, pool="mean")
    facts = {"model": "vit", "variant": "small", "config": asdict(config), "data": "x", "result": {}}
    (tmp_path / "start").mkdir()
    runs.save(tmp_path / "start", vit.Model(config), facts, ("a", "b", "c", "d"))
    settings = fine_tuning.Settings(str(tmp_path / "start"), 2, 8, "digits", 20)
    table = fine_tuning.run(settings, tmp_path)
    assert list(table) == list(fine_tuning.ROWS)
    assert table["the head alone (linear probe)"]["learnt"] == 10 * 17
    assert table["all weights"]["learnt"] > table["LoRA of rank 8"]["learnt"]
    page = (tmp_path / "fine-tuning.md").read_text()
    assert f"| {table['all weights']['learnt']:,} |" in page


def test_curves(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    records = [{"step": n, "test_accuracy": n / 10, "seconds": 30.0 * n} for n in (1, 2)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    facts = {"model": "vit", "variant": "small", "data": "x", "training": {}}
    (folder / "config.json").write_text(json.dumps(facts))
    curves.main([str(folder), str(folder), "--out", str(tmp_path / "curves.png")])
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert curves.points(Training("run", facts, records)) == [(0.5, 10.0), (1.0, 20.0)]
    with pytest.raises(UserError, match="has no accuracy"):
        curves.points(Training("run", facts, [{"step": 1, "loss": 1.0}]))


def test_sentences_are_ranked_by_their_own_cider():
    """Twenty pictures with a reference of ten words each; the sentence about number i has i / 2 of them."""
    known = tuple((" ".join(f"p{i}w{word}" for word in range(10)),) for i in range(20))
    written = tuple(
        " ".join(one.split()[: i // 2 + 1] + ["else"] * (9 - i // 2)) for i, (one,) in enumerate(known)
    )
    test = CaptionSet(np.zeros((20, 2, 2, 3), np.uint8), known, tuple(map(str, range(20))))
    found = captions.ranked(Judged(test, written, {}))
    assert [index for index, _ in found] == [1, 5, 9, 13, 17, 19]
    assert found[-1][1] == pytest.approx(1000)
    assert sorted(value for _, value in found) == [value for _, value in found]
