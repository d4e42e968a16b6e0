"""Computes an artefact for an app in another language: python serve.py ARTEFACT

A line of JSON comes out first: {"metadata", "inputs": {name: {"dtype", "shape"}}}, free sizes as -1. Then for
each line that comes in, one goes out:

{"new_state": function}                                      {"state": number}
{"function", "state": number or -1, "inputs": {name: array}} {"outputs": {name: array}}
the same with "states": {name: array}, for Core AI           {"outputs": {…}, "states": {…}}

An array is {"dtype", "shape", "base64"}; pictures are uint8 (1, H, W, C).
"""

import base64
import json
import sys
from typing import Any

import numpy as np

import converters as cv


def main(path: str) -> None:
    """Serve until the input ends."""
    model, states = cv.load(path), []
    specs = {
        name: spec for function in model.functions for name, spec in model[function].signature.inputs.items()
    }
    inputs = {name: described(spec) for name, spec in specs.items() if isinstance(spec, cv.Spec)}
    answer({"metadata": json.dumps(model.metadata), "inputs": inputs})
    for line in sys.stdin:
        asked = json.loads(line)
        if "new_state" in asked:
            states.append(model.new_state(asked["new_state"] or None))
            answer({"state": len(states) - 1})
            continue
        function = model[asked["function"] or model.functions[0]]
        arrays: dict[str, Any] = {name: decoded(given) for name, given in asked["inputs"].items()}
        if asked["state"] >= 0:
            arrays["state"] = states[asked["state"]]
        if "position" in arrays:
            arrays["position"] = arrays["position"].reshape(())  # Core ML knows no array without axes
        held = {name: decoded(given) for name, given in asked.get("states", {}).items()}
        found = function(**arrays, **({"state": held} if held else {}))
        outputs = {name: encoded(array) for name, array in found.items() if array.dtype.kind == "f"}
        answer({"outputs": outputs, "states": {name: encoded(array) for name, array in held.items()}})


def described(spec: cv.Spec) -> dict[str, Any]:
    """Of an input."""
    return {"dtype": spec.dtype, "shape": [size if isinstance(size, int) else -1 for size in spec.shape]}


def decoded(given: dict[str, Any]) -> np.ndarray:
    """An array; a picture in [0, 1]."""
    array = np.frombuffer(base64.b64decode(given["base64"]), given["dtype"]).reshape(given["shape"])
    return array.astype(np.float32) / np.float32(255) if array.dtype == np.uint8 else array


def encoded(array: np.ndarray) -> dict[str, Any]:
    """As JSON has it."""
    text = base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
    return {"dtype": str(array.dtype), "shape": list(array.shape), "base64": text}


def answer(content: dict[str, Any]) -> None:
    """One line."""
    print(json.dumps(content), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
