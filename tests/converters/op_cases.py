"""The table of ops: every op of the registry has rows."""

from __future__ import annotations

import op_cases_indexing

CASES = (*op_cases_indexing.CASES,)
