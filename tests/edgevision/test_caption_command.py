"""`edgevision train captioner`, `caption`, `export` and `evaluate`, on a training of a few steps."""

import csv
import json
from importlib.util import find_spec

import numpy as np
import pytest
from PIL import Image

from edgevision import cli
from edgevision.data import scenes
from edgevision.demo_captioner import run_captioner_demo
from edgevision.inference.captioner import MlxWriter, Style, captions, open_captioner, picture_array
from edgevision.inference.regions import attention_maps


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run on a folder of 80 scenes, and the folder."""
    root = tmp_path_factory.mktemp("captions")
    drawn = scenes.draw("train", 80)
    with (root / "captions.jsonl").open("w") as file:
        for index, (image, sentence) in enumerate(zip(drawn.images, drawn.captions, strict=True)):
            Image.fromarray(image).save(root / f"{index}.png")
            file.write(json.dumps({"image": f"{index}.png", "caption": sentence}) + "\n")
    command = ["train", "captioner", "--variant", "scenes", "--data", str(root), "--out", str(root / "run")]
    assert cli.main([*command, "--steps", "3", "--batch-size", "16", "--vocabulary", "300"]) == 0
    return root


def outcome(capfd, *arguments):
    capfd.readouterr()
    code = cli.main([str(a) for a in arguments])
    return code, *capfd.readouterr()


def test_the_run_says_how_it_came_about(run):
    config = json.loads((run / "run" / "config.json").read_text())
    assert config["variant"] == "scenes"
    assert config["result"]["loss"] > 0
    assert 0 <= config["result"]["test_exact"] <= 1
    assert len((run / "run" / "metrics.jsonl").read_text().splitlines()) >= 2


def test_resume_finds_it_finished_and_other_settings_are_refused(run, capfd):
    again = ["train", "captioner", "--out", run / "run", "--resume"]
    code, _, told = outcome(capfd, *again)
    assert code == 0
    assert "finished already" in told
    code, _, told = outcome(capfd, *again, "--seed", 5)
    assert code == 1
    assert "seed was 0, is 5" in told


def test_pictures_to_sentences_json_and_csv(run, capfd, tmp_path):
    code, out, _ = outcome(capfd, "caption", run / "run", run / "0.png")
    assert code == 0
    assert out.strip()
    (tmp_path / "in").mkdir()
    tall = Image.new("RGB", (20, 400), "white")
    tall.save(tmp_path / "in" / "tall.png")
    tall.save(tmp_path / "in" / "moving.gif", save_all=True, append_images=[Image.new("RGB", (20, 400))])
    (tmp_path / "in" / "broken.png").write_bytes(b"no picture")
    code, out, told = outcome(
        capfd, "caption", run / "run", tmp_path / "in", "--beams", 2, "--json", "--csv", tmp_path / "out.csv"
    )
    assert code == 1
    assert "broken.png" in told
    found = json.loads(out)["pictures"]
    assert [entry["picture"].rpartition("/")[2] for entry in found] == ["moving.gif", "tall.png"]
    assert all("squeezed" in entry["note"] for entry in found)
    assert "first" in found[0]["note"], "of an animated file the first picture is taken"
    with (tmp_path / "out.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["caption"] for row in rows] == [entry["captions"][0]["text"] for entry in found]
    assert outcome(capfd, "caption", run / "run", run / "0.png", "--csv", tmp_path / "out.csv")[0] == 2


def test_explain_draws_where_it_looked(run, capfd, tmp_path):
    drawing = tmp_path / "words.png"
    code, _, _ = outcome(capfd, "caption", run / "run", run / "1.png", "--explain", drawing)
    assert code == 0
    with Image.open(drawing) as picture:
        assert picture.width == 640
    writer = MlxWriter(run / "run")
    array, _ = picture_array(run / "1.png", writer.side)
    tokens = [writer.start, *captions(writer, array, Style())[0].tokens]
    maps = attention_maps(writer, array, tokens)
    assert maps.shape == (len(tokens) - 1, 8, 8)
    np.testing.assert_allclose(maps.sum(axis=(1, 2)), 1, atol=1e-5)
    code, _, err = outcome(capfd, "explain", run / "run", "--text", "a")
    assert code == 2
    assert "edgevision caption RUN PICTURE --explain" in err


def test_dense_finds_each_object_once(run, capfd, tmp_path):
    drawn = scenes.draw("train", 80)
    index = next(i for i, phrases in enumerate(drawn.phrases) if len(phrases) == 2)
    arguments = ["caption", run / "run", run / f"{index}.png", "--json", "--dense", tmp_path / "regions.png"]
    code, out, _ = outcome(capfd, *arguments)
    assert code == 0
    found = [entry["box"] for entry in json.loads(out)["found"]]
    assert len(found) == 2
    for wanted in drawn.boxes[index]:
        assert min(np.abs(np.array(box) - wanted).max() for box in found) < 3
    code, out, _ = outcome(capfd, *arguments, "--force", "--box", "0,0,20,20")
    assert json.loads(out)["found"][0]["box"] == [0, 0, 20, 20]
    for wrong in ("0,0,99,20", "1,2,3", "5,5,5,9"):
        assert outcome(capfd, *arguments, "--force", "--box", wrong)[0] == 2


def test_both_exports_write_what_mlx_writes(run, capfd, tmp_path):
    code, out, told = outcome(
        capfd, "export", run / "run", "--to", "onnx", "--to", "coreml", "--out", tmp_path / "out"
    )
    assert code == 0, told
    assert out.count(" of 12 sentences as MLX's") == 2
    for path in (tmp_path / "out", tmp_path / "out" / "captioner.mlpackage"):
        writers = [open_captioner(run / "run"), open_captioner(path)]
        array, _ = picture_array(run / "2.png", 64)
        a, b = (captions(writer, array, Style(beams=3, count=2)) for writer in writers)
        assert [found.tokens for found in a] == [found.tokens for found in b]
        code, out, _ = outcome(capfd, "evaluate", path, "--data", run, "--json")
        assert code == 0
        assert json.loads(out)["splits"]["test"]["pictures"] >= 3
    assert_exports_look_where_mlx_looks(run, tmp_path / "out", capfd)


def assert_exports_look_where_mlx_looks(run, exported, capfd):
    array, _ = picture_array(run / "2.png", 64)
    ours, theirs = open_captioner(run / "run"), open_captioner(exported)
    tokens = [ours.start, *captions(ours, array, Style())[0].tokens]
    maps = [attention_maps(writer, array, tokens) for writer in (ours, theirs)]
    np.testing.assert_allclose(maps[1], maps[0], rtol=0, atol=1e-5)
    drawing = exported / "words.png"
    assert outcome(capfd, "caption", exported, run / "2.png", "--explain", drawing)[0] == 0
    assert drawing.is_file()
    package = exported / "captioner.mlpackage"
    assert outcome(capfd, "caption", package, run / "2.png", "--explain", drawing, "--force")[0] == 0
    told = attention_maps(open_captioner(package), array, tokens)
    np.testing.assert_allclose(told, maps[0], rtol=0, atol=2e-3)  # float16; each map sums to 1


def test_a_page_shows_pictures_with_both_sentences(run, capfd, tmp_path, monkeypatch):
    monkeypatch.setattr(scenes, "COUNTS", dict.fromkeys(scenes.COUNTS, 60))
    page = tmp_path / "sentences.html"
    code, out, _ = outcome(
        capfd, "evaluate", run / "run", "--data", "scenes", "--beams", 2, "--json", "--page", page
    )
    assert code == 0
    assert set(json.loads(out)["splits"]) == {"test", "unseen"}
    shown = page.read_text()
    assert shown.count("<img") == 80
    assert shown.count("http") == 0
    drawn = scenes.draw("test", 1)
    assert f"<td>scene-00000.png</td><td>{drawn.captions[0]}</td>" in shown


def test_options_of_captioners_are_refused_for_others(capfd, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    code, _, told = outcome(capfd, "evaluate", tmp_path, "--page", tmp_path / "page.html")
    assert code == 2
    assert "for captioners" in told


@pytest.mark.skipif(find_spec("coreai") is None, reason="coreai-core has no wheel for this system")
def test_core_ai_writes_what_mlx_writes(run, capfd, tmp_path):
    code, out, told = outcome(capfd, "export", run / "run", "--to", "coreai", "--out", tmp_path / "out")
    assert code == 0, out + told
    assert "12 of 12 sentences as MLX's" in out
    asset = tmp_path / "out" / "captioner.aimodel"
    code, out, _ = outcome(capfd, "caption", asset, run / "2.png", "--json")
    assert code == 0
    assert json.loads(out)["pictures"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--beams", "2", "--temperature", "1"], "exclude"),
        (["--count", "2"], "several"),
        (["--box", "1,2,3,4"], "--dense"),
        (["--explain", "x.png", "1.png"], "one picture"),
    ],
)
def test_wrong_options_are_usage_errors(run, options, message, capfd):
    code, _, told = outcome(capfd, "caption", run / "run", run / "0.png", *options)
    assert code == 2
    assert message in told


def test_other_models_are_told_apart(capfd, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    code, _, told = outcome(capfd, "caption", tmp_path, tmp_path / "a.png")
    assert code == 1
    assert "no captioner" in told


@pytest.mark.slow
def test_the_captioner_of_the_demo_names_what_it_never_saw(tmp_path, capfd):
    """Three minutes on two cores."""
    found = run_captioner_demo(tmp_path / "demo-captioner", None, False)
    assert all(result["ok"] for result in found["agreement"].values())
    assert found["quality"]["test"]["exact"] >= 95
    assert found["quality"]["unseen"]["exact"] >= 80
    again = run_captioner_demo(tmp_path / "demo-captioner", None, False)
    assert again["quality"] == found["quality"]
    assert "finished already" in capfd.readouterr().err


def test_a_short_demo_of_the_captioner_goes_all_the_way(tmp_path, monkeypatch, capfd):
    few = dict.fromkeys(scenes.COUNTS, 64)
    monkeypatch.setattr(scenes, "COUNTS", few)
    found = run_captioner_demo(tmp_path / "demo-captioner", 1, False)
    assert all(result["ok"] for result in found["agreement"].values())
    assert found["quality"]["unseen"]["pictures"] == 64
    shown = capfd.readouterr().out
    assert "unseen-2.png" in shown
    assert "onnxruntime says" in shown
    assert (tmp_path / "demo-captioner-exported" / "unseen-2.png").is_file()
