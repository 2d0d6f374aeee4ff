"""Nets of images."""

from _real_net import images, net

NETS = {}


def _timm(name, size=32, **options):
    import timm

    drops = {"drop_rate": 0.2, "drop_path_rate": 0.3}
    return timm.create_model(name, num_classes=5, **drops | options), images(size)


@net(NETS, "timm", "ViT, fused attention")
def timm_vit():
    sizes = {"img_size": 32, "patch_size": 8, "embed_dim": 48, "depth": 3, "num_heads": 3}
    return _timm("vit_tiny_patch16_224", **sizes, attn_drop_rate=0.2, proj_drop_rate=0.2)


@net(NETS, "timm", "ViT, patch dropout")
def timm_vit_patch_dropout():
    sizes = {"img_size": 32, "patch_size": 8, "embed_dim": 48, "depth": 3, "num_heads": 3}
    return _timm("vit_tiny_patch16_224", **sizes, patch_drop_rate=0.25, drop_path_rate=0)


@net(NETS, "timm", "ConvNeXt")
def timm_convnext():
    return _timm("convnext_atto", depths=(1, 1, 2, 1), dims=(8, 16, 32, 64))


@net(NETS, "timm", "Swin")
def timm_swin():
    sizes = {"img_size": 32, "patch_size": 2, "window_size": 4, "embed_dim": 16}
    depths = {"depths": (1, 2), "num_heads": (2, 4)}
    drops = {"attn_drop_rate": 0.2, "proj_drop_rate": 0.2}
    return _timm("swin_tiny_patch4_window7_224", **sizes, **depths, **drops)


@net(NETS, "timm", "EfficientNet")
def timm_efficientnet():
    return _timm("test_efficientnet")


@net(NETS, "timm", "ResNet")
def timm_resnet():
    return _timm("test_resnet")


@net(NETS, "timm", "ResNet, DropBlock")
def timm_resnet_drop_block():
    return _timm("test_resnet", 64, drop_path_rate=0, drop_block_rate=0.2)


@net(NETS, "torchvision", "ConvNeXt")
def tv_convnext():
    from torchvision.models.convnext import CNBlockConfig, ConvNeXt

    blocks = [CNBlockConfig(8, 16, 2), CNBlockConfig(16, None, 2)]
    return ConvNeXt(blocks, stochastic_depth_prob=0.3, layer_scale=0.5, num_classes=5), images()


@net(NETS, "torchvision", "EfficientNet")
def tv_efficientnet():
    from torchvision.models.efficientnet import EfficientNet, MBConvConfig

    blocks = [MBConvConfig(1, 3, 1, 16, 16, 2), MBConvConfig(4, 3, 2, 16, 24, 2)]
    drops = {"dropout": 0.2, "stochastic_depth_prob": 0.3}
    return EfficientNet(blocks, **drops, num_classes=5, last_channel=64), images()


@net(NETS, "torchvision", "ViT")
def tv_vit():
    from torchvision.models import VisionTransformer

    sizes = {"image_size": 32, "patch_size": 8, "num_layers": 2, "num_heads": 4}
    widths = {"hidden_dim": 32, "mlp_dim": 64, "num_classes": 5}
    return VisionTransformer(**sizes, **widths, dropout=0.2, attention_dropout=0.2), images()


@net(NETS, "torchvision", "Swin")
def tv_swin():
    from torchvision.models import SwinTransformer

    sizes = {"patch_size": [2, 2], "embed_dim": 16, "depths": [1, 2], "num_heads": [2, 4]}
    drops = {"dropout": 0.2, "attention_dropout": 0.2, "stochastic_depth_prob": 0.3}
    return SwinTransformer(**sizes, window_size=[4, 4], num_classes=5, **drops), images()


@net(NETS, "torchvision", "MobileNet v3")
def tv_mobilenet():
    from torchvision.models import mobilenet_v3_small

    return mobilenet_v3_small(num_classes=5, width_mult=0.25), images()


@net(NETS, "torchvision", "FCN")
def tv_fcn():
    from torchvision.models import mobilenet_v3_small
    from torchvision.models.segmentation.fcn import FCN, FCNHead, IntermediateLayerGetter

    features = mobilenet_v3_small(width_mult=0.25).features
    backbone = IntermediateLayerGetter(features, {"3": "out"})
    return FCN(backbone, FCNHead(features[3].out_channels, 3)), images()


@net(NETS, "segmentation-models-pytorch", "FPN")
def smp_fpn():
    import segmentation_models_pytorch as smp

    sizes = {"decoder_pyramid_channels": 32, "decoder_segmentation_channels": 32}
    return smp.FPN("tu-test_resnet", encoder_weights=None, **sizes), images(64)[:4]


@net(NETS, "monai", "U-Net")
def monai_unet():
    from monai.networks.nets import UNet

    sizes = {"channels": (8, 16, 32), "strides": (2, 2), "num_res_units": 1}
    return UNet(2, 1, 2, **sizes, dropout=0.2), images(channels=1)


@net(NETS, "monai", "Swin UNETR")
def monai_swin_unetr():
    from monai.networks.nets import SwinUNETR

    sizes = {"feature_size": 12, "spatial_dims": 2, "depths": (1, 1, 1, 1), "window_size": 4}
    drops = {"drop_rate": 0.2, "attn_drop_rate": 0.2, "dropout_path_rate": 0.3}
    return SwinUNETR(1, 2, **sizes, **drops), images(64, 1)[:4]


@net(NETS, "vit-pytorch", "ViT")
def vit_pytorch():
    from vit_pytorch import ViT

    sizes = {"image_size": 32, "patch_size": 8, "dim": 32, "depth": 2, "heads": 4, "mlp_dim": 64}
    return ViT(**sizes, num_classes=5, dropout=0.2, emb_dropout=0.2), images()
