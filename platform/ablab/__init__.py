"""ablab: declared, shared, resumable ablations for people who pretrain small language models.

import ablab
result = ablab.run("contrastive-vs-masked", scale="smoke")
"""

__version__ = "0.1.0"
