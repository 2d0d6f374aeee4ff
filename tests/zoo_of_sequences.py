"""The nets for sequences, of attention and recurrent layers; importing it adds them to the zoo."""

import torch
import torch.nn.functional as F
from nets import Function
from torch import Tensor, nn
from zoo import EACH, FOLD, WHOLE, ZOO, entry

__all__ = ["ZOO", "padded", "sequence"]


def sequence(n_rows: int) -> Tensor:
    return torch.randn(n_rows, 3, 4).double()


@entry(sequence, WHOLE)
def rows_merged_rows_first(p):
    layer, after = nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(x):
        h = F.dropout(layer(x.reshape(-1, 4)), p, layer.training)
        return after(h).unflatten(0, x.shape[:2]).sum(1)

    return Function(forward, layer, after)


@entry(sequence, WHOLE)
def rows_merged_time_first(p):
    layer, after = nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(x):
        h = F.dropout(layer(x.transpose(0, 1).reshape(-1, 4)), p, layer.training)
        return after(h).unflatten(0, (x.shape[1], x.shape[0])).sum(0)

    return Function(forward, layer, after)


@entry(sequence, EACH)
def time_first(p):
    inside = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Dropout(p), nn.Linear(6, 2))
    return Function(lambda x: inside(x.transpose(0, 1)).mean(0), inside)


# -- attention -------------------------------------------------------------------------------------


def padded(n_rows: int) -> tuple[Tensor, Tensor]:
    """Sequences of 3, 2, 1, 3, ... steps, and where they are padded."""
    lengths = 3 - torch.arange(n_rows) % 3
    return sequence(n_rows), torch.arange(3) >= lengths[:, None]


def attention(batch_first=True, options=None, **call):
    """Self-attention; the rows are always the first axis of the net's input and output."""

    def make(p):
        layer = nn.MultiheadAttention(4, 2, p, batch_first=batch_first, **(options or {}))

        def forward(x, key_padding_mask=None):
            x = x if batch_first else x.transpose(0, 1)
            y, _ = layer(x, x, x, key_padding_mask=key_padding_mask, **call)
            return y if batch_first else y.transpose(0, 1)

        return Function(forward, layer)

    return make


LATER = torch.ones(3, 3).triu(1).bool()  # what attention to earlier steps masks out
NUMBERS = torch.arange(9.0).reshape(3, 3).double() / 4  # a mask that is added

entry(sequence, WHOLE, "attention")(attention())
entry(sequence, WHOLE, "attention without weights")(attention(need_weights=False))
entry(sequence, WHOLE, "attention time first")(attention(False))
entry(sequence, WHOLE, "attention time first without weights")(attention(False, need_weights=False))
entry(sequence, WHOLE, "attention with a mask")(attention(attn_mask=LATER))
entry(sequence, WHOLE, "attention with added numbers")(
    attention(attn_mask=NUMBERS, need_weights=False)
)
entry(sequence, WHOLE, "causal attention")(
    attention(attn_mask=LATER, is_causal=True, need_weights=False)
)
entry(sequence, WHOLE, "attention with weights of each head")(attention(average_attn_weights=False))
entry(padded, WHOLE, "attention with padding")(attention())
entry(padded, WHOLE, "attention time first with padding and mask")(
    attention(False, attn_mask=LATER, need_weights=False)
)
entry(sequence, WHOLE, "attention with more keys")(
    attention(options={"add_bias_kv": True, "add_zero_attn": True})
)
entry(sequence, WHOLE, "attention without bias")(attention(options={"bias": False}))


@entry(lambda n: (sequence(n), torch.randn(n, 5, 3).double(), torch.randn(n, 5, 2).double()), WHOLE)
def attention_between_inputs(p):
    layer = nn.MultiheadAttention(4, 2, p, kdim=3, vdim=2, batch_first=True)
    return Function(lambda q, k, v: layer(q, k, v)[0], layer)


@entry(sequence, WHOLE)
def attention_as_a_function(p):
    layer = nn.MultiheadAttention(4, 2)

    def forward(x):
        x = x.transpose(0, 1)
        inside = layer.in_proj_weight, layer.in_proj_bias, None, None, False, p
        outside = layer.out_proj.weight, layer.out_proj.bias, layer.training, None, False, LATER
        return F.multi_head_attention_forward(x, x, x, 4, 2, *inside, *outside)[0].transpose(0, 1)

    return Function(forward, layer)


@entry(sequence, WHOLE)
def attention_weights(p):
    layer = nn.MultiheadAttention(4, 2, p, batch_first=True)
    return Function(lambda x: layer(x, x, x)[::-1], layer)


def sdpa(heads=(2, 2), **options):
    """Scaled dot product attention, called by the user, with so many heads for queries and keys."""

    def make(p):
        q, k, v = (nn.Linear(4, 4 * n // heads[0]) for n in (*heads, heads[1]))

        def forward(x):
            parts = (f(x).unflatten(2, (-1, 4 // heads[0])).transpose(1, 2) for f in (q, k, v))
            y = F.scaled_dot_product_attention(*parts, dropout_p=p, **options)
            return y.transpose(1, 2).flatten(2)

        return Function(forward, q, k, v)

    return make


entry(sequence, WHOLE, "sdpa")(sdpa())
entry(sequence, WHOLE, "sdpa causal")(sdpa(is_causal=True))
entry(sequence, WHOLE, "sdpa with a mask")(sdpa(attn_mask=~LATER))
entry(sequence, WHOLE, "sdpa with added numbers")(sdpa(attn_mask=NUMBERS, scale=0.3))
entry(sequence, WHOLE, "sdpa of grouped queries")(sdpa((4, 2), enable_gqa=True))


@entry(padded, WHOLE)
def sdpa_with_padding(p):
    layer = nn.Linear(4, 4)

    def forward(x, padding):
        return F.scaled_dot_product_attention(layer(x), x, x, ~padding[:, None], p)

    return Function(forward, layer)


@entry(lambda n: (sequence(n), torch.arange(3) < torch.arange(n)[:, None] % 3), WHOLE)
def sdpa_with_queries_that_see_nothing(p):
    layer = nn.Linear(4, 4)

    def forward(x, padding):  # padded in front, so that the first steps look at padding only
        visible = ~padding[:, None] & ~LATER
        return F.scaled_dot_product_attention(layer(x), x, x, visible, p)

    return Function(forward, layer)


def encoder_layer(p, **options):
    return nn.TransformerEncoderLayer(4, 2, 6, p, batch_first=True, **options)


@entry(sequence, WHOLE)
def encoder(p):
    return encoder_layer(p)


@entry(sequence, WHOLE)
def encoder_norm_first(p):
    return encoder_layer(p, norm_first=True, activation="gelu")


@entry(lambda n: {"src": padded(n)[0], "src_key_padding_mask": padded(n)[1]}, WHOLE)
def encoders_with_padding(p):
    return nn.TransformerEncoder(encoder_layer(p), 2, enable_nested_tensor=True)


@entry(lambda n: (sequence(n), torch.randn(n, 5, 4).double()), WHOLE)
def decoder(p):
    layer = nn.TransformerDecoderLayer(4, 2, 6, p, batch_first=True)
    return Function(lambda x, memory: layer(x, memory, tgt_mask=LATER), layer)


@entry(lambda n: (sequence(n), torch.randn(n, 5, 4).double()), WHOLE)
def decoder_norm_first_and_time_first(p):
    layer = nn.TransformerDecoderLayer(4, 2, 6, p, norm_first=True)

    def forward(x, memory):
        return layer(x.transpose(0, 1), memory.transpose(0, 1)).transpose(0, 1)

    return Function(forward, layer)


@entry(lambda n: (*padded(n), sequence(n)), WHOLE)
def whole_transformer(p):
    net = nn.Transformer(4, 2, 1, 1, 6, p, batch_first=True)

    def forward(source, padding, target):
        masks = {"src_key_padding_mask": padding, "memory_key_padding_mask": padding}
        return net(source, target, tgt_mask=LATER, tgt_is_causal=True, **masks)

    return Function(forward, net)


# -- recurrent nets --------------------------------------------------------------------------------


def recurrent(layer, batch_first=True, **options):
    def make(p):
        n_layers = options.get("num_layers", 2)
        rnn = layer(4, 3, **{"num_layers": n_layers, **options}, batch_first=batch_first, dropout=p)

        def forward(x):
            return rnn(x)[0] if batch_first else rnn(x.transpose(0, 1))[0].transpose(0, 1)

        return Function(forward, rnn)

    return make


entry(sequence, FOLD, "lstm")(recurrent(nn.LSTM))
entry(sequence, FOLD, "lstm time first of 3 layers")(recurrent(nn.LSTM, False, num_layers=3))
entry(sequence, FOLD, "lstm of both directions")(recurrent(nn.LSTM, bidirectional=True))
entry(sequence, FOLD, "lstm projected")(recurrent(nn.LSTM, proj_size=2))
entry(sequence, FOLD, "lstm projected of both directions without bias")(
    recurrent(nn.LSTM, proj_size=2, bidirectional=True, bias=False)
)
entry(sequence, FOLD, "gru")(recurrent(nn.GRU))
entry(sequence, FOLD, "gru time first of both directions")(
    recurrent(nn.GRU, False, bidirectional=True, num_layers=3)
)
entry(sequence, FOLD, "rnn")(recurrent(nn.RNN))
entry(sequence, FOLD, "rnn of rectifiers without bias")(
    recurrent(nn.RNN, nonlinearity="relu", bias=False)
)


@entry(sequence, "weights thinned fold")
def lstm_of_one_layer(p):
    lstm, dropout, after = nn.LSTM(4, 3, batch_first=True), nn.Dropout(p), nn.Linear(3, 2)
    return Function(lambda x: after(dropout(lstm(dropout(x))[0])), lstm, dropout, after)


@entry(sequence, FOLD)
def last_state_of_an_lstm(p):
    lstm, after = nn.LSTM(4, 3, 2, batch_first=True, dropout=p), nn.Linear(3, 2)
    return Function(lambda x: after(lstm(x)[1][0][-1]), lstm, after)


@entry(lambda n: (sequence(n), torch.randn(n, 2, 3).double()), FOLD)
def gru_from_a_state(p):
    gru = nn.GRU(4, 3, 2, batch_first=True, dropout=p)
    return Function(lambda x, h: gru(x, h.transpose(0, 1).contiguous())[0], gru)


@entry(sequence, WHOLE)
def cell_by_cell(p):
    cell, dropout, after = nn.GRUCell(4, 4), nn.Dropout(p), nn.Linear(4, 2)

    def forward(x):
        state = torch.zeros_like(x[:, 0])
        for step in x.unbind(1):
            state = cell(dropout(step), state)
        return after(state)

    return Function(forward, cell, dropout, after)
