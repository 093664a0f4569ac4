"""ablab: declared, shared, resumable ablations for people who pretrain small language models.

import ablab
result = ablab.run("contrastive-vs-masked", scale="smoke")
for claim in result.comparison.claims:
    print(claim.words)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ablab.runner.run import run as run

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name == "run":  # imported on first use: `import ablab` stays light
        from ablab.runner.run import run

        return run
    raise AttributeError(f"module 'ablab' has no attribute {name!r}")
