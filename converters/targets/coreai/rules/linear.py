"""Matrix products."""

from __future__ import annotations

from converters.targets.coreai.rules.lowering import named

RULES = {"Matmul": named("BroadcastingBatchMatmul")}
