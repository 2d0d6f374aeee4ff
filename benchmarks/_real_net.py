"""What makes a net of ``real_nets.py``: a small net of a package that people use."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from _stand_ins import without_torchaudio, without_torchvision_operators
from torch import nn

N_ROWS = 16


@dataclass(frozen=True)
class RealNet:
    """One line of the table; ``make`` returns a module with random weights, and an input."""

    package: str
    name: str
    make: Callable
    warns: str = "(?!)"  # what sampling may warn of

    def __call__(self):
        """Return the module and the input, the same at every call."""
        torch.manual_seed(0)
        without_torchvision_operators()
        without_torchaudio()
        module, x = self.make()
        for parameter in module.parameters():
            first = parameter.flatten()[0].item()
            if bool((parameter == first).all()):
                nn.init.normal_(parameter, first, 0.2)  # no head or scale is zero
        return module.requires_grad_(False).eval(), x


def net(nets, package, name, **options):
    """Put what a function makes into a dict of nets."""

    def register(make):
        nets[f"{package} {name}"] = RealNet(package, name, make, **options)
        return make

    return register


def numbers(*shape):
    """Return normal numbers for all rows."""
    return torch.randn(N_ROWS, *shape)


def categories():
    """Return a column of three categories."""
    return torch.randint(3, (N_ROWS, 1))


def images(size=32, channels=3):
    """Return square images."""
    return numbers(channels, size, size)


def tokens(length=12, n_words=50):
    """Return tokens of which the last are padding in some of the rows."""
    mask = torch.ones(N_ROWS, length, dtype=torch.long)
    mask[1::2, -3:] = 0
    return {"input_ids": torch.randint(2, n_words, (N_ROWS, length)), "attention_mask": mask}
