"""Random programs: MLX, the NumPy meaning of the captured graph, and onnxruntime compute the same.

`make fuzz N=10000` runs more of them.
"""

import pytest
from fuzz.drawing import drawn
from fuzz.judging import judged
from fuzz.reducing import reduced


def outcomes(program, targets=("numpy", "passes", "onnx")):
    return judged(program, program.inputs, program.sizes, program.grades, program.opset, targets)


def test_a_failing_program_is_reduced_to_what_fails():
    """As if `argmin` were wrong."""
    program = next(p for p in map(drawn, range(1000)) if len(p.steps) > 10 and has(p, "argmin"))
    small = reduced(program, lambda p: has(p, "argmin"))
    assert {step.operation for step in small.steps} <= {"constant", "argmin"}
    assert len(small.outputs) == 1


def has(program, name):
    return any(step.operation == name for step in program.steps)


@pytest.mark.parametrize("seed", range(5))
def test_a_report_runs_as_it_is_printed(seed, capsys):
    program = drawn(seed)
    exec(str(program), {})
    assert capsys.readouterr().out.strip() == str(outcomes(program))
