"""`edgevision app android`: what Gradle reads is whole, and the Kotlin sources give what Python gives."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import onnx
import pytest
from said import said

import converters as cv
from edgevision.cli import main
from edgevision.inference.captioner_onnx import LOOKED

HERE = Path(__file__).parent
JARS = (Path("/usr/share/java"), Path("/usr/share/kotlin/kotlinc/lib"))  # where Debian puts them
NAME = "{http://schemas.android.com/apk/res/android}name"


@pytest.fixture(scope="module")
def project(exported, tmp_path_factory):
    out = tmp_path_factory.mktemp("apps") / "phone"
    given = [argument for model in exported["onnx"].values() for argument in ("--model", str(model))]
    assert main(["app", "android", *given, "--out", str(out)]) == 0
    return out


def test_gradle_finds_every_part(project):
    settings = (project / "settings.gradle.kts").read_text()
    parts = re.findall(r'":(\w+)"', settings)
    assert parts == ["kit", "app"]
    for part in parts:
        assert (project / part / "build.gradle.kts").is_file()
    applied = set(
        re.findall(r'^ *(?:id|kotlin)\("([\w.]+)"\)', (project / "app/build.gradle.kts").read_text(), re.M)
    )
    known = set(
        re.findall(r'(?:id|kotlin)\("([\w.]+)"\) version', (project / "build.gradle.kts").read_text())
    )
    assert applied <= known
    assert (project / "gradle" / "wrapper" / "gradle-wrapper.properties").is_file()


def test_the_manifest_names_a_class_and_no_permission(project):
    main_folder = project / "app" / "src" / "main"
    manifest = ElementTree.parse(main_folder / "AndroidManifest.xml").getroot()
    (activity,) = manifest.iter("activity")
    space = re.search(r'namespace = "([\w.]+)"', (project / "app/build.gradle.kts").read_text())
    assert space is not None
    source = main_folder / "kotlin" / space[1].replace(".", "/") / f"{activity.attrib[NAME][1:]}.kt"
    assert f"package {space[1]}\n" in source.read_text()
    assert list(manifest.iter("uses-permission")) == []


def test_models_labels_and_tokenizers_are_in_place(project):
    assets = project / "app" / "src" / "main" / "assets"
    code = "".join(file.read_text() for file in (project / "app").glob("**/*.kt"))
    assert {file.name for file in assets.iterdir()} == set(re.findall(r'"([\w-]+\.(?:onnx|json))"', code))
    found = json.loads((assets / "models.json").read_text())
    assert found["digits"] == {"labels": list("0123456789"), "side": 28}
    assert found["caption"]["limit"] == 9
    assert found["write"]["context"] == 32
    for file in assets.glob("*.onnx"):
        assert set(cv.load(file).inputs) & {"pixel_values", "input_ids"}


def test_the_code_asks_for_the_names_of_the_graphs(project):
    code = (project / "app/src/main/kotlin/edgevision/app/OnnxModels.kt").read_text()
    for file in (project / "app" / "src" / "main" / "assets").glob("*.onnx"):
        model = cv.load(file)
        read = [name for name in model.outputs if not name.startswith(LOOKED)]  # --explain alone reads those
        for name in (*model.inputs, *read):
            asked = name.partition(".")[0]
            assert f'"{asked}' in code, f"{file.name} has {name}"


def test_what_is_not_for_the_app_is_one_line(trained, tmp_path, capsys):
    for name, message in (("colours", "takes rgb pictures"), ("nowhere", "is not there")):
        path = trained.get(name, tmp_path / name)
        assert main(["app", "android", "--model", str(path), "--out", str(tmp_path / "out")]) == 1
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_model_of_a_newer_version_is_refused(trained, tmp_path, capsys):
    assert main(["export", str(trained["digits"]), "--to", "onnx", "--out", str(tmp_path / "new")]) == 0
    path = tmp_path / "new" / "onnx" / "model.onnx"
    model = onnx.load(path)
    (entry,) = (prop for prop in model.metadata_props if prop.key == "edgevision")
    entry.value = entry.value.replace('"format": 1', '"format": 2')
    onnx.save(model, path)
    assert main(["app", "android", "--model", str(tmp_path / "new"), "--out", str(tmp_path / "out")]) == 1
    assert "format 2" in capsys.readouterr().err


def test_a_part_of_a_captioner_is_missed(trained, tmp_path, capsys):
    folder = tmp_path / "export"
    assert main(["export", str(trained["caption"]), "--to", "onnx", "--out", str(folder)]) == 0
    (folder / "onnx" / "decoder_model_merged.onnx").unlink()
    assert main(["app", "android", "--model", str(folder), "--out", str(tmp_path / "out")]) == 1
    assert "decoder_model_merged.onnx is not there" in capsys.readouterr().err


@pytest.fixture(scope="module")
def compiled(project, tmp_path_factory):
    """Runs a class of the sources of the project that need no Android; onnxruntime is a stand-in."""
    kotlinc, java = shutil.which("kotlinc"), shutil.which("java")
    names = ("junit4", "hamcrest-core", "kotlin-stdlib", "kotlin-stdlib-jdk7")
    jars = [jar for folder in JARS for name in names if (jar := folder / f"{name}.jar").is_file()]
    if kotlinc is None or java is None or len(jars) < len(names):
        pytest.skip("no kotlinc, java, JUnit 4 and kotlin-stdlib: the tests in Kotlin were not run")
    made, path = tmp_path_factory.mktemp("kotlin") / "app.jar", ":".join(map(str, jars))
    model_code = project / "app" / "src" / "main" / "kotlin" / "edgevision" / "app" / "OnnxModels.kt"
    command = [kotlinc, project / "kit" / "src", model_code, HERE / "standins" / "kotlin"]
    command += ["-nowarn", "-cp", path, "-d", made]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr

    def run(*arguments):
        serve = f"-Dserve={sys.executable}\n{HERE / 'standins' / 'serve.py'}"
        command = [java, serve, "-cp", f"{made}:{path}", *arguments]
        done = subprocess.run(
            command, cwd=project / "kit", capture_output=True, text=True, check=False, timeout=200
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


def test_the_kotlin_sources_give_what_python_gives(project, compiled):
    tests = sorted((project / "kit" / "src" / "test").glob("**/*Test.kt"))
    told = compiled("org.junit.runner.JUnitCore", *(f"edgevision.kit.{test.stem}" for test in tests))
    ran = re.search(r"OK \((\d+) tests\)", told)
    assert ran is not None
    assert int(ran[1]) >= 18


def test_the_app_says_what_python_says(project, exported, compiled):
    assets = project / "app" / "src" / "main" / "assets"
    told = compiled("DriveKt", str(assets), str(project / "fixtures" / "pictures"))
    expected = said(*(exported["onnx"][name] for name in ("digits", "caption", "write")))
    assert [json.loads(line) for line in told.splitlines()] == [
        pytest.approx(line, abs=1e-6) if isinstance(line[0], float) else line for line in expected
    ]
    assert len({json.dumps(line) for line in expected}) > 6, "the models say the same of everything"
