"""Nets of transformers, made from small configurations."""

import torch
from _real_net import N_ROWS, images, net, numbers, tokens

NETS = {}


def _transformer(name, head, attention="eager", **options):
    import transformers

    transformers.logging.set_verbosity_error()
    config = getattr(transformers, f"{name}Config")(**options)
    kind = getattr(transformers, f"{name}{head}")
    return kind._from_config(config, attn_implementation=attention)


_SMALL = {"vocab_size": 50, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
_SMALL |= {"intermediate_size": 64, "max_position_embeddings": 64, "initializer_range": 0.2}
_DROPS = {"hidden_dropout_prob": 0.2, "attention_probs_dropout_prob": 0.2}


@net(NETS, "transformers", "BERT, eager")
def bert_eager():
    return _transformer("Bert", "Model", **_SMALL, **_DROPS), tokens()


@net(NETS, "transformers", "BERT classifier, sdpa")
def bert_sdpa():
    return _transformer("Bert", "ForSequenceClassification", "sdpa", **_SMALL, **_DROPS), tokens()


@net(NETS, "transformers", "RoBERTa, sdpa")
def roberta():
    return _transformer("Roberta", "Model", "sdpa", **_SMALL, **_DROPS), tokens()


@net(NETS, "transformers", "ELECTRA, eager")
def electra():
    options = {**_SMALL, **_DROPS, "embedding_size": 16}
    return _transformer("Electra", "ForSequenceClassification", **options), tokens()


@net(NETS, "transformers", "ALBERT, sdpa")
def albert():
    options = {**_SMALL, **_DROPS, "embedding_size": 16}
    return _transformer("Albert", "Model", "sdpa", **options), tokens()


@net(NETS, "transformers", "DeBERTa v2, eager")
def deberta():
    options = {**_SMALL, **_DROPS, "relative_attention": True, "pos_att_type": ["c2p", "p2c"]}
    return _transformer("DebertaV2", "Model", **options), tokens()


@net(NETS, "transformers", "DistilBERT, eager")
def distilbert():
    options = {"vocab_size": 50, "dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64}
    drops = {"dropout": 0.2, "attention_dropout": 0.2, "initializer_range": 0.2}
    return _transformer("DistilBert", "ForSequenceClassification", **options, **drops), tokens()


def _gpt2(attention):
    options = {"vocab_size": 50, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}
    drops = {"resid_pdrop": 0.2, "embd_pdrop": 0.2, "attn_pdrop": 0.2, "initializer_range": 0.2}
    return _transformer("GPT2", "Model", attention, **options, **drops), tokens()


@net(NETS, "transformers", "GPT-2, eager")
def gpt2_eager():
    return _gpt2("eager")


@net(NETS, "transformers", "GPT-2, sdpa")
def gpt2_sdpa():
    return _gpt2("sdpa")


@net(NETS, "transformers", "LLaMA, eager")
def llama_eager():
    return _transformer("Llama", "Model", **_SMALL, attention_dropout=0.2), tokens()


@net(NETS, "transformers", "LLaMA, sdpa")
def llama_sdpa():
    return _transformer("Llama", "Model", "sdpa", **_SMALL, attention_dropout=0.2), tokens()


@net(NETS, "transformers", "T5 encoder, eager")
def t5():
    options = {"vocab_size": 50, "d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2}
    return _transformer("T5", "EncoderModel", **options, num_heads=4, dropout_rate=0.2), tokens()


@net(NETS, "transformers", "BART, sdpa")
def bart():
    sizes = {f"{part}_{what}": n for part in ("encoder", "decoder")
             for what, n in (("layers", 2), ("attention_heads", 4), ("ffn_dim", 64))}  # fmt: skip
    options = {"vocab_size": 50, "d_model": 32, "max_position_embeddings": 64, "init_std": 0.2}
    drops = {"dropout": 0.2, "attention_dropout": 0.2, "activation_dropout": 0.2}
    return _transformer("Bart", "Model", "sdpa", **sizes, **options, **drops), tokens()


@net(NETS, "transformers", "Reformer, local")
def reformer():
    options = {"attn_layers": ["local", "local"], "axial_pos_shape": (4, 4)}
    options |= {"axial_pos_embds_dim": (16, 16), "feed_forward_size": 64}
    options |= {"local_attn_chunk_length": 4, "is_decoder": False}
    options |= {"vocab_size": 50, "hidden_size": 32, "num_attention_heads": 4}
    options |= {"attention_head_size": 8, "max_position_embeddings": 16}
    drops = {"hidden_dropout_prob": 0.2, "local_attention_probs_dropout_prob": 0.2}
    return _transformer("Reformer", "Model", **options, **drops), tokens(16)


def _vit(attention):
    options = {key: value for key, value in _SMALL.items() if key != "vocab_size"}
    options |= {"image_size": 32, "patch_size": 8}
    net = _transformer("ViT", "ForImageClassification", attention, **options, **_DROPS)
    return net, {"pixel_values": images()}


@net(NETS, "transformers", "ViT, eager")
def vit_eager():
    return _vit("eager")


@net(NETS, "transformers", "ViT, sdpa")
def vit_sdpa():
    return _vit("sdpa")


@net(NETS, "transformers", "Swin v2")
def swin_v2():
    options = {"image_size": 32, "patch_size": 4, "embed_dim": 16, "depths": [1, 2]}
    options |= {"num_heads": [2, 4], "window_size": 4, "drop_path_rate": 0.3}
    return _transformer("Swinv2", "Model", **options, **_DROPS), {"pixel_values": images()}


@net(NETS, "transformers", "PatchTST")
def patch_tst():
    options = {"num_input_channels": 3, "context_length": 32, "patch_length": 8, "d_model": 32}
    options |= {"patch_stride": 8, "num_attention_heads": 4, "num_hidden_layers": 2, "ffn_dim": 64}
    options |= {"prediction_length": 4, "init_std": 0.2}
    places = ("attention", "positional", "path", "ff", "head")
    drops = {f"{place}_dropout": 0.2 for place in places}
    return _transformer("PatchTST", "ForPrediction", "sdpa", **options, **drops), numbers(32, 3)


@net(NETS, "transformers", "PatchTSMixer")
def patch_ts_mixer():
    options = {"num_input_channels": 3, "context_length": 32, "patch_length": 8, "d_model": 16}
    options |= {"patch_stride": 8, "num_layers": 2, "prediction_length": 4}
    drops = {"dropout": 0.2, "head_dropout": 0.2}
    return _transformer("PatchTSMixer", "ForPrediction", **options, **drops), numbers(32, 3)


@net(NETS, "transformers", "TimeSeriesTransformer, eager")
def time_series_transformer():
    options = {"prediction_length": 4, "context_length": 8, "lags_sequence": [1, 2], "d_model": 32}
    options |= {"num_time_features": 1, "encoder_layerdrop": 0, "decoder_layerdrop": 0}
    drops = {"dropout": 0.2, "attention_dropout": 0.2, "activation_dropout": 0.2}
    x = {"past_values": numbers(10), "past_time_features": numbers(10, 1)}
    x |= {"future_values": numbers(4), "future_time_features": numbers(4, 1)}
    x |= {"past_observed_mask": torch.ones(N_ROWS, 10)}
    return _transformer("TimeSeriesTransformer", "Model", **options, **drops), x
