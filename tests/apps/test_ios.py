"""`edgevision app ios`: what Xcode reads is whole, and the Swift package gives what Python gives."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from said import said

import converters as cv
from edgevision.app.ios import oldest_system
from edgevision.app.models import Chosen
from edgevision.cli import main

HERE = Path(__file__).parent
TOKEN = re.compile(r'//[^\n]*|"((?:[^"\\]|\\.)*)"|([\w./$<>]+)|([{}()=;,])')


def read_project(text: str) -> Any:
    """A property list of the old style, as `project.pbxproj` is one: dictionaries, lists and strings."""
    tokens = [match.groups() for match in TOKEN.finditer(text) if not match[0].startswith("//")]

    def value() -> Any:
        quoted, word, sign = tokens.pop(0)
        if sign == "{":
            found = {}
            while tokens[0][2] != "}":
                key = value()
                assert tokens.pop(0)[2] == "="
                found[key] = value()
                assert tokens.pop(0)[2] == ";"
            tokens.pop(0)
            return found
        if sign == "(":
            found = []
            while tokens[0][2] != ")":
                found.append(value())
                assert tokens.pop(0)[2] == ","
            tokens.pop(0)
            return found
        assert sign is None, f"{sign!r} where a value is expected"
        return word if quoted is None else quoted

    found = value()
    assert not tokens
    return found


@pytest.fixture(scope="module")
def project(exported, tmp_path_factory):
    out = tmp_path_factory.mktemp("apps") / "phone"
    given = [argument for model in exported["coreml"].values() for argument in ("--model", str(model))]
    assert main(["app", "ios", *given, "--out", str(out)]) == 0
    return out


def test_every_reference_of_the_project_leads_somewhere(project):
    read = read_project((project / "EdgeVision.xcodeproj" / "project.pbxproj").read_text())
    objects = read["objects"]
    named = set(re.findall(r"\bED[0-9]{22}\b", json.dumps(read)))
    assert named == set(objects)
    assert objects[read["rootObject"]]["isa"] == "PBXProject"
    for entry in objects.values():
        if entry["isa"] in ("PBXFileSystemSynchronizedRootGroup", "XCLocalSwiftPackageReference"):
            assert (project / (entry.get("path") or entry["relativePath"])).is_dir()
    (target,) = (entry for entry in objects.values() if entry["isa"] == "PBXNativeTarget")
    products = [objects[product]["productName"] for product in target["packageProductDependencies"]]
    manifest = (project / "EdgeVisionKit" / "Package.swift").read_text()
    assert all(f'.library(name: "{product}"' in manifest for product in products)
    settings = [e["buildSettings"] for e in objects.values() if e["isa"] == "XCBuildConfiguration"]
    assert {"DEVELOPMENT_TEAM", "CODE_SIGN_IDENTITY"}.isdisjoint(set().union(*settings))
    assert {s["IPHONEOS_DEPLOYMENT_TARGET"] for s in settings if "SDKROOT" in s} == {"18.0"}


def test_every_source_of_the_app_imports_what_there_is(project):
    kit = project / "EdgeVisionKit" / "Sources" / "EdgeVisionKit"
    assert {file.name for file in kit.iterdir()} >= {"Sampling.swift", "CoreMLModels.swift"}
    known = {"CoreML", "EdgeVisionKit", "Foundation", "ImageIO", "PhotosUI", "SwiftUI"}
    for file in (project / "EdgeVision").glob("*.swift"):
        assert set(re.findall(r"^import (\w+)", file.read_text(), re.MULTILINE)) <= known


def test_models_labels_and_tokenizers_are_in_place(project, trained):
    models = project / "EdgeVision" / "Models"
    assert {file.name for file in models.iterdir()} == {
        "Captioner.mlpackage",
        "Captioner-tokenizer.json",
        "Digits.mlpackage",
        "Writer.mlpackage",
        "Writer-tokenizer.json",
        "models.json",
    }
    found = json.loads((models / "models.json").read_text())
    assert found["digits"] == {"labels": list("0123456789"), "side": 28}
    assert found["caption"]["limit"] == 9
    assert found["caption"]["side"] == 16
    assert found["write"]["context"] == 32
    tokenizer = json.loads((models / "Writer-tokenizer.json").read_text())
    (end,) = (added["id"] for added in tokenizer["added_tokens"])
    assert found["write"]["ends"] == [end] == [found["caption"]["end"]]
    for package, functions in (("Digits", 1), ("Captioner", 2), ("Writer", 1)):
        assert len(cv.load(models / f"{package}.mlpackage").functions) == functions


def test_a_project_is_replaced_only_where_it_is_ours(trained, tmp_path, capsys):
    out = tmp_path / "phone"
    arguments = ["app", "ios", "--model", str(trained["digits"]), "--out", str(out)]
    assert main(arguments) == 0
    assert main(arguments) == 1
    assert "--force" in capsys.readouterr().err
    assert main([*arguments, "--force"]) == 0
    (out / "EdgeVision" / "Mine.swift").write_text("")
    assert main([*arguments, "--force"]) == 1
    assert "Mine.swift" in capsys.readouterr().err
    assert (out / "EdgeVision" / "Mine.swift").is_file()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["nowhere"], "nowhere is not there"),
        (["empty"], "holds no .mlpackage or .aimodel"),
        (["colours"], "takes rgb pictures of [16, 16]"),
        (["digits", "digits"], "are for the same tab, digits"),
    ],
)
def test_what_is_not_for_the_app_is_one_line(trained, tmp_path, capsys, given, message):
    (tmp_path / "empty").mkdir()
    paths = [str(trained.get(name, tmp_path / name)) for name in given]
    arguments = [argument for path in paths for argument in ("--model", path)]
    assert main(["app", "ios", *arguments, "--out", str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_tokenizer_of_another_kind_is_refused(trained, tmp_path, capsys):
    assert main(["export", str(trained["write"]), "--to", "coreml", "--out", str(tmp_path / "text")]) == 0
    path = tmp_path / "text" / "tokenizer.json"
    path.write_text(path.read_text().replace("ByteLevel", "Metaspace"))
    assert main(["app", "ios", "--model", str(tmp_path / "text"), "--out", str(tmp_path / "out")]) == 1
    assert "no plain byte-level BPE" in capsys.readouterr().err


def test_the_oldest_system_is_that_of_the_newest_package():
    def package(specification):
        return Chosen("digits", "coreml", Path(), {}, {"format": f"Core ML, specification {specification}"})

    assert oldest_system([]) == "17.0"
    assert oldest_system([package(7)]) == "17.0"
    assert oldest_system([package(8), package(9)]) == "18.0"


@pytest.fixture(scope="module")
def with_core_ai(trained, tmp_path_factory):
    """A project whose digits and texts are for Core AI and Core ML, captions for Core ML."""
    pytest.importorskip("coreai", reason="coreai-core has no wheel for this system")
    root, given = tmp_path_factory.mktemp("core-ai"), []
    for tab in ("digits", "caption", "write"):
        to = ["--to", "coreml", "--to", "coreai", "--out", str(root / tab)]
        assert main(["export", str(trained[tab]), *to]) == 0
        given += ["--model", str(root / tab)]
    assert main(["app", "ios", *given, "--out", str(root / "phone")]) == 0
    return root


def test_core_ai_beside_core_ml(with_core_ai):
    """Core AI from iOS 27, Core ML below: `Models.swift` takes what the system has."""
    models = with_core_ai / "phone" / "EdgeVision" / "Models"
    assert {file.stem for file in models.glob("*.mlpackage")} == {"Digits", "Captioner", "Writer"}
    assert {file.stem for file in models.glob("*.aimodel")} == {"Digits", "Writer"}
    told = json.loads((models / "models.json").read_text())
    assert told["write"]["context"] == 32
    source = (with_core_ai / "phone" / "EdgeVision" / "Models.swift").read_text()
    for kind, name in (("CoreAIClassifier", "Digits"), ("CoreAIEngine", "Writer")):
        choice = source.index(f'forResource: "{name}", withExtension: "aimodel"')
        assert source.rindex("#available(iOS 27, *)", 0, choice) > source.rindex(
            "#if canImport(CoreAI)", 0, choice
        )
        assert choice < source.index(f"try? await {kind}(url)") < source.index(f'compiled("{name}")', choice)


def test_captions_by_core_ai_alone_are_refused(with_core_ai, tmp_path, capsys):
    asset = with_core_ai / "caption" / "captioner.aimodel"
    assert main(["app", "ios", "--model", str(asset), "--out", str(tmp_path / "out")]) == 1
    assert "is for captions, which the app computes with Core ML" in " ".join(capsys.readouterr().err.split())


@pytest.fixture(scope="module")
def swift():
    """Runs Swift's commands in a folder."""
    command = shutil.which("swift")
    if command is None:
        pytest.skip("no Swift toolchain on PATH: swift test was not run")

    def run(folder, *arguments, **environment):
        done = subprocess.run(
            [command, *arguments],
            cwd=folder,
            env=os.environ | environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=500,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout, done.stderr

    return run


def test_the_swift_package_gives_what_python_gives(project, swift, tmp_path):
    kit = tmp_path / "EdgeVisionKit"
    shutil.copytree(project / "EdgeVisionKit", kit)
    told = "".join(swift(kit, "test"))
    assert re.search(r"Executed (1[89]|[2-9]\d) tests, with 0 failures", told)


@pytest.mark.skipif(
    sys.platform == "darwin", reason="a stand-in for Core ML would have the name of the real one"
)
def test_the_app_says_what_python_says(with_core_ai, swift, tmp_path):
    """Core ML is a stand-in over our interpreter, which computes Python's side too; Core AI one over Apple's
    runtime, whose texts and shares are those of the asset in Python."""
    project = with_core_ai / "phone"
    folder = tmp_path / "standins"
    shutil.copytree(HERE / "standins" / "swift", folder, ignore=shutil.ignore_patterns(".build"))
    kit = project / "EdgeVisionKit" / "Sources" / "EdgeVisionKit"
    shutil.copytree(kit, folder / "Sources" / "EdgeVisionKit")
    serve = f"{sys.executable}\n{HERE / 'standins' / 'serve.py'}"
    places = (project / "EdgeVision" / "Models", project / "EdgeVisionKit" / "Fixtures" / "pictures")
    told, _ = swift(folder, "run", "Drive", *map(str, places), EDGEVISION_SERVE=serve)
    names = {"digits": "lenet", "caption": "captioner", "write": "decoder_lm"}
    by_core_ml, by_core_ai = (
        said(*(with_core_ai / tab / f"{name}.{ending}" for tab, name in names.items()))
        for ending in ("mlpackage", "aimodel")
    )
    expected = by_core_ml + by_core_ai[6:]  # after the sentences
    assert [json.loads(line) for line in told.splitlines()] == [
        pytest.approx(line, abs=1e-6) if isinstance(line[0], float) else line for line in expected
    ]
    assert len({json.dumps(line) for line in expected}) > 6, "the models say the same of everything"
