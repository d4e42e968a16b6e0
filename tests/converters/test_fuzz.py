"""Random programs: MLX, the NumPy meaning of the captured graph, and onnxruntime compute the same.

`make fuzz N=10000` runs more of them.
"""

import pytest
from fuzz.drawing import drawn, redrawn
from fuzz.judging import judged
from fuzz.operation import Unfit
from fuzz.program import Input, Step
from fuzz.reducing import reduced


def outcomes(program, targets=("numpy", "passes", "onnx")):
    return judged(program, program.inputs, program.sizes, program.grades, program.opset, targets)


def test_a_failing_program_is_reduced_to_what_fails():
    """As if `argmin` were wrong."""
    program = next(p for p in map(drawn, range(1000)) if len(p.steps) > 10 and has(p, "argmin"))
    small = reduced(program, lambda p: has(p, "argmin"))
    assert {step.operation for step in small.steps} <= {"constant", "argmin"}
    assert len(small.outputs) == 1


def test_attention_whose_scores_are_rounding_errors_is_no_example():
    """Scores of 196.3 and 193.5, each with an error of 1 in bfloat16."""
    pixels = Input((5, 3, 3), "bfloat16", "grid", 1)
    weight = {"shape": (9, 3), "dtype": "bfloat16", "values": "grid", "seed": 9}
    steps = [Step("degrees", (0,), {}), Step("constant", (), weight)]
    redrawn([pixels], [*steps, Step("heads", (0, 2), {"heads": 1})], [{}])
    with pytest.raises(Unfit):
        redrawn([pixels], [*steps, Step("heads", (1, 2), {"heads": 1})], [{}])


def has(program, name):
    return any(step.operation == name for step in program.steps)


@pytest.mark.parametrize("seed", range(5))
def test_a_report_runs_as_it_is_printed(seed, capsys):
    program = drawn(seed)
    exec(str(program), {})
    assert capsys.readouterr().out.strip() == str(outcomes(program))
