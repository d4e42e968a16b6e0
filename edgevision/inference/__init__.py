"""Using a trained model: a run folder, an `.onnx` file, an `.mlpackage` or an export folder, all by one
interface."""

from edgevision.inference.classifier import Classifier, open_classifier

__all__ = ["Classifier", "open_classifier"]
