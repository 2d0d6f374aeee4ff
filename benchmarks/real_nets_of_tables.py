"""Nets of tables, signals and graphs."""

import torch
from _real_net import N_ROWS, categories, net, numbers
from torch import nn

NETS = {}
ALONE = {"warns": "by itself|one by one"}  # the rows are lines, or parts of graphs, in no block


@net(NETS, "rtdl-revisiting-models", "MLP")
def rtdl_mlp():
    from rtdl_revisiting_models import MLP

    return MLP(d_in=8, d_out=1, n_blocks=2, d_block=64, dropout=0.2), numbers(8)


@net(NETS, "rtdl-revisiting-models", "ResNet")
def rtdl_resnet():
    from rtdl_revisiting_models import ResNet

    sizes = {"d_in": 8, "d_out": 1, "n_blocks": 2, "d_block": 32, "d_hidden_multiplier": 2.0}
    return ResNet(**sizes, d_hidden=None, dropout1=0.2, dropout2=0.1), numbers(8)


@net(NETS, "rtdl-revisiting-models", "FT-Transformer")
def rtdl_ft_transformer():
    from rtdl_revisiting_models import FTTransformer

    options = FTTransformer.get_default_kwargs(2) | {"d_block": 32, "attention_n_heads": 4}
    options |= {"residual_dropout": 0.1}
    net = FTTransformer(n_cont_features=8, cat_cardinalities=[3], d_out=1, **options)
    return net, (numbers(8), categories())


@net(NETS, "tabm", "TabM")
def tabm():
    from tabm import TabM

    sizes = {"n_blocks": 2, "d_block": 32, "k": 4}
    return TabM.make(n_num_features=8, cat_cardinalities=[3], d_out=1, **sizes, dropout=0.2), (
        numbers(8),
        categories(),
    )


def _pytorch_tabular(name, **options):
    from omegaconf import OmegaConf
    from pytorch_tabular import models
    from pytorch_tabular.config import DataConfig, InferredConfig, OptimizerConfig, TrainerConfig

    parts = [
        getattr(models, f"{name}Config")(task="regression", **options),
        DataConfig(target=["y"], continuous_cols=[f"x{i}" for i in range(8)]),
        TrainerConfig(),
        OptimizerConfig(),
    ]
    config = OmegaConf.merge(*(OmegaConf.to_container(OmegaConf.structured(p)) for p in parts))
    sizes = InferredConfig(1, 8, 1, categorical_cardinality=[3], embedding_dims=[(3, 2)])
    net = getattr(models, f"{name}Model")(config, inferred_config=OmegaConf.structured(sizes))
    return net, ({"continuous": numbers(8), "categorical": categories()},)


@net(NETS, "pytorch-tabular", "GANDALF")
def tabular_gandalf():
    return _pytorch_tabular("GANDALF", gflu_dropout=0.2)


@net(NETS, "pytorch-tabular", "FT-Transformer")
def tabular_ft_transformer():
    drops = {"attn_dropout": 0.2, "add_norm_dropout": 0.2, "ff_dropout": 0.2}
    return _pytorch_tabular("FTTransformer", num_attn_blocks=2, num_heads=4, **drops)


def _braindecode(name, n_times=500, **options):
    from braindecode import models

    sizes = {"n_chans": 8, "n_outputs": 4, "n_times": n_times, "sfreq": 125}
    return getattr(models, name)(**sizes, **options), numbers(8, n_times)


@net(NETS, "braindecode", "ShallowFBCSPNet")
def shallow_fbcsp():
    return _braindecode("ShallowFBCSPNet")


@net(NETS, "braindecode", "EEGNet")
def eegnet():
    return _braindecode("EEGNet")


@net(NETS, "braindecode", "Deep4Net")
def deep4():
    return _braindecode("Deep4Net", 600)


@net(NETS, "braindecode", "EEGConformer")
def eeg_conformer():
    return _braindecode("EEGConformer", num_layers=2)


@net(NETS, "braindecode", "ATCNet")
def atcnet():
    return _braindecode("ATCNet")


def _x_transformer(**options):
    from x_transformers import ContinuousTransformerWrapper, Encoder

    drops = {"attn_dropout": 0.2, "ff_dropout": 0.2}
    layers = Encoder(dim=32, depth=2, heads=4, attn_dim_head=8, **drops, **options)
    sizes = {"dim_in": 4, "dim_out": 2, "max_seq_len": 12}
    net = ContinuousTransformerWrapper(attn_layers=layers, **sizes, emb_dropout=0.2)
    return net, numbers(12, 4)


@net(NETS, "x-transformers", "encoder")
def x_transformer():
    return _x_transformer()


@net(NETS, "x-transformers", "encoder, flash")
def x_transformer_flash():
    return _x_transformer(attn_flash=True)


class OneGraph(nn.Module):
    """A net of nodes whose graph is fixed; each row has features for all nodes.

    A row is a graph: where the layers take no axis of rows, the graphs are laid side by side.
    """

    def __init__(self, net, edges, side_by_side=False):
        super().__init__()
        self.net, self.side_by_side = net, side_by_side
        self.register_buffer("edges", edges)

    def forward(self, x):
        if not self.side_by_side:
            return self.net(x, self.edges)
        n_rows, n_nodes, _ = x.shape
        starts = torch.arange(n_rows).repeat_interleave(self.edges.shape[1]) * n_nodes
        return self.net(x.flatten(0, 1), self.edges.repeat(1, n_rows) + starts).unflatten(
            0, (n_rows, n_nodes)
        )


class ByNumber(nn.Module):
    """A net of graphs of different sizes; a row is the number of a graph in a list."""

    def __init__(self, net, batch_of, graphs):
        super().__init__()
        self.net, self.batch_of, self.graphs = net, batch_of, graphs

    def forward(self, numbers):
        dtype = next(self.net.parameters()).dtype
        return self.net(*self.batch_of([self.graphs[i] for i in numbers.tolist()], dtype))


def _ring(n_nodes):
    nodes = torch.arange(n_nodes)
    there, back = torch.stack([nodes, nodes.roll(1)]), torch.stack([nodes.roll(1), nodes])
    return torch.cat([there, back], 1)


@net(NETS, "torch-geometric", "GCN, graphs of one shape")
def pyg_gcn():
    from torch_geometric.nn import GCN

    return OneGraph(GCN(4, 16, 3, 2, dropout=0.3), _ring(6)), numbers(6, 4)


@net(NETS, "torch-geometric", "GCN, nodes of one graph as one row")
def pyg_gcn_nodes():
    from torch_geometric.nn import GCN

    return OneGraph(GCN(4, 16, 3, 2, dropout=0.3), _ring(100)), torch.randn(1, 100, 4)


@net(NETS, "torch-geometric", "GAT, graphs of one shape", **ALONE)
def pyg_gat():
    from torch_geometric.nn import GAT

    return OneGraph(GAT(4, 16, 3, 2, dropout=0.3, heads=2), _ring(6), True), numbers(6, 4)


@net(NETS, "torch-geometric", "GAT, nodes of one graph as one row", **ALONE)
def pyg_gat_nodes():
    from torch_geometric.nn import GAT

    net = GAT(4, 16, 3, 2, dropout=0.3, heads=2)
    return OneGraph(net, _ring(100), True), torch.randn(1, 100, 4)


class PooledGIN(nn.Module):
    """A net of graphs: a mean over the nodes of each."""

    def __init__(self):
        from torch_geometric.nn import GIN, global_mean_pool

        super().__init__()
        self.net, self.pool = GIN(4, 16, 3, 2, dropout=0.3), global_mean_pool

    def forward(self, x, edges, graph_of):
        return self.pool(self.net(x, edges), graph_of)


@net(NETS, "torch-geometric", "GIN, graphs of different sizes", **ALONE)
def pyg_gin():
    from torch_geometric.data import Batch, Data

    def batch_of(graphs, dtype):
        batch = Batch.from_data_list(graphs)
        return batch.x.to(dtype), batch.edge_index, batch.batch

    graphs = [Data(torch.randn(n, 4), _ring(n)) for n in range(3, 3 + N_ROWS)]
    return ByNumber(PooledGIN(), batch_of, graphs), torch.arange(N_ROWS)


@net(NETS, "chemprop", "MPNN, molecules of different sizes", **ALONE)
def chemprop_mpnn():
    from chemprop.data import BatchMolGraph
    from chemprop.featurizers import SimpleMoleculeMolGraphFeaturizer
    from chemprop.models import MPNN
    from chemprop.nn import BondMessagePassing, MeanAggregation, RegressionFFN
    from rdkit.Chem import MolFromSmiles

    def batch_of(graphs, dtype):
        batch = BatchMolGraph(graphs)
        batch.V, batch.E = batch.V.to(dtype), batch.E.to(dtype)
        return (batch,)

    smiles = ["CCO", "CC", "CCN", "c1ccccc1", "CC(=O)O", "C1CC1", "CCCl", "CCCC"]
    graphs = list(map(SimpleMoleculeMolGraphFeaturizer(), map(MolFromSmiles, smiles)))
    messages = BondMessagePassing(d_h=32, dropout=0.2)
    mpnn = MPNN(
        messages, MeanAggregation(), RegressionFFN(input_dim=32, hidden_dim=32, dropout=0.2)
    )
    return ByNumber(mpnn, batch_of, graphs), torch.arange(len(graphs))
