"""Which device Core ML means to run each operation on. Needs macOS 14.4 or later; not run elsewhere."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from converters.errors import ConversionError
from converters.targets.coreml.schema import coremltools

DEVICES = {"MLCPUComputeDevice": "cpu", "MLGPUComputeDevice": "gpu", "MLNeuralEngineComputeDevice": "ne"}


@dataclass(frozen=True)
class Planned:
    """One operation.

    Attributes:
        operator: "ios17.conv"; outputs: the names of its results.
        device: cpu, gpu or ne, where Core ML would run it; None where it does not say.
        possible: devices that could.
        cost: its share of the whole, 0 to 1; None where Core ML does not say.
    """

    operator: str
    outputs: tuple[str, ...]
    device: str | None
    possible: tuple[str, ...]
    cost: float | None


def compute_plan(path: Path, units: str = "all") -> dict[str, list[Planned]]:
    """The operations of each function in order, constants left out.

    Args:
        path: an `.mlpackage`.
        units: all, cpu, gpu or ne: what Core ML may use.

    Raises:
        ConversionError: not on macOS.
    """
    if sys.platform != "darwin":
        raise ConversionError("the compute plan comes from Core ML", hint="run this on macOS 14.4 or later")
    from converters.targets.coreml.load import UNITS

    tools = coremltools()
    compiled = tools.models.utils.compile_model(str(path))
    plan = tools.models.compute_plan.MLComputePlan.load_from_path(
        compiled, getattr(tools.ComputeUnit, UNITS[units])
    )
    program = plan.model_structure.program
    assert program is not None, "an ML Program"
    found: dict[str, list[Planned]] = {}
    for name, function in program.functions.items():
        found[name] = []
        for operation in function.block.operations:
            if operation.operator_name.rpartition(".")[2] == "const":
                continue
            usage = plan.get_compute_device_usage_for_mlprogram_operation(operation)
            cost = plan.get_estimated_cost_for_mlprogram_operation(operation)
            found[name].append(
                Planned(
                    operation.operator_name,
                    tuple(output.name for output in operation.outputs),
                    None if usage is None else _device(usage.preferred_compute_device),
                    () if usage is None else tuple(map(_device, usage.supported_compute_devices)),
                    None if cost is None else cost.weight,
                )
            )
    return found


def _device(device: object) -> str:
    return DEVICES.get(type(device).__name__, type(device).__name__)


__all__ = ["Planned", "compute_plan"]
