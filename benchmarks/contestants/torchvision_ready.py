"""Import before torchvision beside a CPU build of torch.

The wheel of the package index belongs to the CUDA build, so its compiled operators do not load.  Its transforms and
models need none of them; only their registration fails where the schemas are missing.
"""

import re
import sys

import torch

_library = torch.library.Library("torchvision", "FRAGMENT")
while True:
    try:
        import torchvision  # noqa: F401

        break
    except RuntimeError as error:
        missing = re.search(r"operator torchvision::(\w+) does not exist", str(error))
        if missing is None:
            raise
        _library.define(f"{missing[1]}(Tensor x) -> Tensor")
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
