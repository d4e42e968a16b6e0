"""The table of ops: every op of the registry that MLX records has rows."""

from __future__ import annotations

import op_cases_elementwise
import op_cases_found
import op_cases_fourier
import op_cases_indexing
import op_cases_linear
import op_cases_reduce
import op_cases_shape

FAMILIES = (
    op_cases_elementwise,
    op_cases_reduce,
    op_cases_shape,
    op_cases_indexing,
    op_cases_linear,
    op_cases_fourier,
    op_cases_found,
)
CASES = tuple(row for family in FAMILIES for row in family.CASES)
