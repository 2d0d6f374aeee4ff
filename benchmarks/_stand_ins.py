"""Stand-ins for the binaries of torchvision and torchaudio, which need a torch with CUDA."""

import importlib
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from unittest.mock import MagicMock

import torch

_library = None


def without_torchvision_operators():
    """Declare two operators that a torchvision without its binaries looks for at import."""
    global _library
    if _library is None:
        _library = torch.library.Library("torchvision", "FRAGMENT")
        for name in ("nms", "qnms"):
            schema = f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
            if not hasattr(torch.ops.torchvision, name):
                _library.define(schema)


def without_torchaudio():
    """Let torchaudio be imported where its binaries are missing; nothing in it works then."""
    try:
        importlib.import_module("torchaudio")
    except OSError:
        for name in ("torchaudio", "torchaudio.functional", "torchaudio.transforms"):
            module = sys.modules[name] = ModuleType(name)
            module.__spec__ = ModuleSpec(name, None)
            module.__getattr__ = lambda attribute: MagicMock()
