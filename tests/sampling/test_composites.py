"""What torch's attention and recurrent nets look like inside, which the composites rely on."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.overrides import TorchFunctionMode


def test_torchs_attention_hands_itself_over_by_the_name_that_is_replaced():
    assert "has_torch_function" in F.multi_head_attention_forward.__code__.co_names


class Record(TorchFunctionMode):
    def __init__(self):
        super().__init__()
        self.calls = {}

    def __torch_function__(self, func, types, args=(), kwargs=None):
        self.calls[func] = (args, kwargs)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    ("make", "function"),
    [(nn.LSTM, torch.lstm), (nn.GRU, torch.gru), (nn.RNN, torch.rnn_tanh)],
)
def test_torchs_recurrent_nets_call_their_function_with_the_known_arguments(make, function):
    net = make(2, 3, num_layers=2, dropout=0.25, batch_first=True, bidirectional=True).eval()
    with Record() as record:
        net(torch.ones(4, 5, 2))
    args, kwargs = record.calls[function]
    x, _, weights, has_biases, n_layers, p, train, bidirectional, batch_first = args
    assert not kwargs
    assert x.shape == (4, 5, 2)
    assert all(isinstance(weight, torch.Tensor) for weight in weights)
    assert (has_biases, n_layers, p) == (True, 2, 0.25)
    assert (train, bidirectional, batch_first) == (False, True, True)
