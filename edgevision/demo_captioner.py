"""The second half of the demo: a captioner is trained on drawn scenes, exported, compared, and asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from converters.storage import claim, replacing_file
from edgevision.console import console, out, table
from edgevision.data import scenes
from edgevision.export_captioner import export_captioner
from edgevision.inference.caption_agreement import caption_agreement
from edgevision.inference.caption_evaluation import evaluate_captioner
from edgevision.inference.captioner import Style, captions, described, open_captioner, picture_array
from edgevision.training.captioning_run import train_caption_run

SHOWN = 3  # pictures of each split
COUNT = 300  # pictures of each split that are measured
EPOCHS = 8  # of the recipe's 14: 1:40 minutes on two cores in place of 3, for 3 % of the unseen pairs


def run_captioner_demo(folder: Path, epochs: int | None, force: bool) -> dict[str, Any]:
    """Train into the run folder `folder`, export beside it, and show six sentences; gives what was found.

    A finished captioner is not trained again, an interrupted one goes on.
    """
    begun = (folder / "training.json").is_file() and not force
    wishes = {} if begun else {"data": "scenes", "epochs": epochs or EPOCHS}
    trained = train_caption_run(wishes, folder, resume=begun, force=force)
    exported = folder.with_name(f"{folder.name}-exported")
    paths = export_captioner(folder, ["onnx", "coreml"], exported, force=True)
    found = {path.name: caption_agreement(folder, path) for path in paths}
    quality = evaluate_captioner(folder, count=COUNT)["splits"]
    out.print(table(["picture", "onnxruntime says", "right"], _sentences(exported), title="Captions"))
    told = ", ".join(f"{split} {measured['exact']:.1f} %" for split, measured in quality.items())
    out.print(f"exact sentences: {told} (unseen: pairs of colour and shape that training had not)")
    for name, result in found.items():
        out.print(f"{name}: {result['told']}", markup=False, soft_wrap=True)
    console.print(f"training: {trained['seconds']:.0f} s; {folder} and {exported}", markup=False)
    return {"agreement": found, "quality": quality, "seconds": trained["seconds"]}


def _sentences(exported: Path) -> list[list[str]]:
    """Six pictures, written beside the files, and what the exported model says of each."""
    from PIL import Image

    writer, rows = open_captioner(exported), []
    claim(exported, [f"{split}-{index}.png" for split in ("test", "unseen") for index in range(SHOWN)])
    for split in ("test", "unseen"):
        drawn = scenes.draw(split, SHOWN, side=writer.side)
        for index, (image, sentence) in enumerate(zip(drawn.images, drawn.captions, strict=True)):
            path = exported / f"{split}-{index}.png"
            with replacing_file(path) as new:
                Image.fromarray(image).save(new, format="PNG")
            array, _ = picture_array(path, writer.side)
            said = described(writer, captions(writer, array, Style())[0])["text"]
            rows.append([path.name, said, "yes" if said == sentence else sentence])
    return rows


__all__ = ["run_captioner_demo"]
