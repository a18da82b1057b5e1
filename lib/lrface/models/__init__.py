"""Networks under their papers' names: ``restorer(name, scale, size)`` and ``embedder(name)``."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from lrface.errors import UsageError
from lrface.models import csri, joint, losses
from lrface.models.recipe import Recipe
from lrface.models.recognition import (
    attributes,
    centreface,
    deepid2,
    frnet,
    rpcn,
    sphereface,
    vgg_face,
)
from lrface.models.recognition.align import align
from lrface.models.recognition.dlib_resnet import DlibResNet, chips
from lrface.models.sr import (
    bicubic,
    dic,
    drrn,
    edsr,
    eigenface,
    han,
    hifacegan,
    rcan,
    rdn,
    srcnn,
    srnet,
    vdsr,
    wavelet_srnet,
)

__all__ = [
    "METHODS",
    "RECOGNISERS",
    "Method",
    "Recipe",
    "align",
    "build",
    "chips",
    "cost",
    "embedder",
    "known",
    "method",
    "recogniser",
    "register",
    "restorer",
]

SCALES = (2, 4, 8)


@dataclass(frozen=True)
class Method:
    """A restoration or recognition method: how to build its network, and what identifies its
    behaviour in a cache."""

    name: str
    build: Callable[..., nn.Module]
    """(scale, size) -> network with an attribute ``scale``; of a recogniser (identities, size,
    scale) -> network."""
    source: str
    version: int = 1
    """Raised when the method's behaviour changes on purpose; trained networks of other versions are
    then not reused."""
    scales: tuple[int, ...] = SCALES
    trained: bool = True
    objectives: Mapping[str, Callable[[nn.Module], nn.Module]] = field(default_factory=dict)
    """Losses of the method's own under their names (``paper``, ``code``): each builds, around the
    network, a module that :func:`lrface.training.loop.train` describes."""
    landmarks: bool = False
    """Whether its objectives want the faces' 68 landmarks."""
    face: int | None = None
    """The one side of HR faces it works on; None: any size."""
    restores: bool = True
    """Whether its network, in evaluation mode, gives a face back."""
    learns: Literal["identity", "attributes"] = "identity"
    """Of a recognition network: what its classes are."""
    solve: Callable[[nn.Module, Iterator[tuple[Tensor, Tensor]]], None] | None = None
    """For a network that is computed rather than descended to: fills it in from one pass over pairs
    (lr, hr)."""
    recipe: Recipe | None = None
    """How it is trained; a restoration method without one is trained as EDSR is."""


METHODS: dict[str, Method] = {
    m.name: m
    for m in (
        Method("bicubic", bicubic.build, "Keys 1981, as MATLAB's imresize", trained=False),
        Method("SRCNN", srcnn.build, "Dong et al., TPAMI 2016", srcnn.VERSION, recipe=srcnn.RECIPE),
        Method(
            "SRNET",
            srnet.build,
            "Wu et al., Deep joint face hallucination and recognition, 2016",
            srnet.VERSION,
            objectives={
                "paper": lambda net: srnet.PaperLoss(),
                "identity": lambda net: losses.Identity(),
            },
        ),
        Method(
            "EDSR",
            edsr.build,
            "Lim et al., CVPRW 2017",
            edsr.VERSION,
            objectives={"identity": lambda net: losses.Identity()},
            recipe=edsr.RECIPE,
        ),
        Method("RCAN", rcan.build, "Zhang et al., ECCV 2018", rcan.VERSION, recipe=rcan.RECIPE),
        Method("RDN", rdn.build, "Zhang et al., CVPR 2018", rdn.VERSION, recipe=rdn.RECIPE),
        Method("HAN", han.build, "Niu et al., ECCV 2020", han.VERSION, recipe=han.RECIPE),
        Method(
            "WaveletSRNet",
            wavelet_srnet.build,
            "Huang et al., ICCV 2017",
            wavelet_srnet.VERSION,
            objectives={"paper": wavelet_srnet.PaperLoss},
            recipe=wavelet_srnet.RECIPE,
        ),
        Method(
            "Eigenface",
            eigenface.build,
            "Wang and Tang, IEEE TSMC-C 2005",
            eigenface.VERSION,
            face=eigenface.FACE,
            solve=eigenface.solve,
            recipe=eigenface.RECIPE,
        ),
        Method(
            "DICNet",
            dic.build,
            "Ma et al., CVPR 2020",
            dic.VERSION,
            dic.SCALES,
            objectives=dic.NET_OBJECTIVES,
            landmarks=True,
            recipe=dic.NET_RECIPE,
        ),
        Method(
            "DICGAN",
            dic.build,
            "Ma et al., CVPR 2020",
            dic.VERSION,
            dic.SCALES,
            objectives=dic.GAN_OBJECTIVES,
            landmarks=True,
            recipe=dic.GAN_RECIPE,
        ),
        Method(
            "HiFaceGAN",
            hifacegan.build,
            "Yang et al., ACM MM 2020",
            hifacegan.VERSION,
            objectives=hifacegan.OBJECTIVES,
            recipe=hifacegan.RECIPE,
        ),
        Method("VDSR", vdsr.build, "Kim et al., CVPR 2016", vdsr.VERSION),
        Method("DRRN", drrn.build, "Tai et al., CVPR 2017", drrn.VERSION),
    )
}


RECOGNISERS: dict[str, Method] = {
    m.name: m
    for m in (
        Method(
            "FRNET",
            frnet.build,
            "Wu et al., Deep joint face hallucination and recognition, 2016",
            frnet.VERSION,
            objectives={"softmax": lambda net: frnet.Softmax(), "paper": frnet.PaperLoss},
            landmarks=True,
            restores=False,
        ),
        Method(
            "Joint",
            joint.build,
            "Wu et al., Deep joint face hallucination and recognition, 2016",
            joint.VERSION,
            objectives={"paper": joint.PaperLoss},
            landmarks=True,
        ),
        Method(
            "DeepID2",
            deepid2.build,
            "Sun et al., NIPS 2014",
            deepid2.VERSION,
            objectives={
                "paper": lambda net: deepid2.PaperLoss(),
                "whole": lambda net: deepid2.PaperLoss(aligned=False),
            },
            restores=False,
        ),
        Method(
            "ANet-like",
            attributes.build_anet,
            "after Liu et al., ICCV 2015",
            attributes.VERSION,
            objectives={"logistic": lambda net: attributes.Logistic()},
            restores=False,
            learns="attributes",
        ),
        Method(
            "PANDA-like",
            attributes.build_panda,
            "after Zhang et al., CVPR 2014",
            attributes.VERSION,
            objectives={"logistic": lambda net: attributes.Logistic()},
            landmarks=True,
            restores=False,
            learns="attributes",
        ),
        Method(
            "CentreFace",
            centreface.build,
            "Wen et al., ECCV 2016",
            centreface.VERSION,
            objectives=centreface.OBJECTIVES,
            restores=False,
        ),
        Method(
            "SphereFace",
            sphereface.build,
            "Liu et al., CVPR 2017",
            sphereface.VERSION,
            objectives=sphereface.OBJECTIVES,
            restores=False,
        ),
        Method(
            "VGG-Face-like",
            vgg_face.build,
            "after Parkhi et al., BMVC 2015",
            vgg_face.VERSION,
            objectives=vgg_face.OBJECTIVES,
            restores=False,
        ),
        Method(
            "RPCN-like",
            rpcn.build,
            "after Wang et al., CVPR 2016",
            rpcn.VERSION,
            objectives=rpcn.OBJECTIVES,
            restores=False,
        ),
        Method(
            "CSRI",
            csri.build,
            "Cheng et al., Low-resolution face recognition, 2018",
            csri.VERSION,
            objectives=csri.OBJECTIVES,
        ),
    )
}
"""Networks that learn whose faces they see, or with which attributes."""


def register(
    name: str, build: Callable[[int, str], nn.Module], source: str, version: int = 1, **fields
) -> Method:
    """Add a method of your own (or replace one, while trying things out in a notebook).

    ``build(scale, size)`` returns any ``nn.Module`` that maps float (N, 3, h, w) in [0, 1] to (N,
    3, h * scale, w * scale): a class of yours, or a checkpoint opened by spandrel. Raise
    ``version`` when you change it, or the cache will return what it trained before. ``fields`` are
    the others of :class:`Method`: ``scales``, ``objectives``, ...
    """
    METHODS[name] = Method(name, build, source, version, **fields)
    return METHODS[name]


def method(name: str) -> Method:
    """The registered method of this name; an unknown one raises with the nearest known name."""
    if name not in METHODS:
        close = difflib.get_close_matches(name, METHODS, 1, 0.5) or [
            m for m in METHODS if m.lower() == name.lower()
        ]
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise UsageError(f"unknown method {name!r}: {hint}known are {', '.join(METHODS)}")
    return METHODS[name]


def known(name: str) -> Method:
    """The recognition network or restoration method of this name; raises as :func:`method` does."""
    return RECOGNISERS.get(name) or method(name)


def restorer(name: str, scale: int, size: str = "small") -> nn.Module:
    """An untrained network (``bicubic`` needs no training): float (N, 3, h, w) in [0, 1] to (N, 3,
    h * scale, w * scale).

    ``size`` is ``paper`` (its authors' numbers) or ``small`` (the same structure, for a CPU).
    """
    chosen = method(name)
    if scale not in chosen.scales:
        raise UsageError(
            f"{name} does not work at {scale}x: choose one of {', '.join(f'{s}x' for s in chosen.scales)}"
        )
    if size not in ("paper", "small"):
        raise UsageError(f"unknown size {size!r} for {name}: choose 'paper' or 'small'")
    net = chosen.build(scale, size)
    net.scale = scale
    return net


def recogniser(name: str, classes: int, size: str = "small", scale: int = 1) -> nn.Module:
    """An untrained recognition network with ``classes`` training identities: aligned float faces in
    [0, 1] to vectors.

    ``scale`` is for ``Joint`` and ``CSRI``, which restore faces that many times smaller before they
    recognise them.
    """
    if name not in RECOGNISERS:
        raise UsageError(
            f"unknown recognition network {name!r}: known are {', '.join(RECOGNISERS)}"
        )
    if size not in ("paper", "small"):
        raise UsageError(f"unknown size {size!r} for {name}: choose 'paper' or 'small'")
    return RECOGNISERS[name].build(classes, size, scale)


def build(name: str, scale: int, size: str = "small", classes: int | None = None) -> nn.Module:
    """The untrained network of this name: :func:`restorer` or :func:`recogniser`."""
    return (
        recogniser(name, classes, size, scale)
        if name in RECOGNISERS
        else restorer(name, scale, size)
    )


def embedder(name: str = "dlib") -> nn.Module:
    """A judge of identity. ``dlib`` is its pretrained ResNet, offline: chips (N, 3, 150, 150) to
    float32 (N, 128)."""
    if name != "dlib":
        raise UsageError(f"unknown embedder {name!r}: known is 'dlib'")
    return DlibResNet().eval()


def cost(net: nn.Module, lr_size: int) -> dict[str, int]:
    """Parameters, and multiply-accumulates for one (3, lr_size, lr_size) face (counted, not
    measured).

    Of a network that is computed rather than trained, the numbers it holds count as its parameters.
    """
    held = [p for p in net.parameters() if p.requires_grad] or [*net.buffers()]
    parameters = sum(p.numel() for p in held)
    device = held[0].device if held else torch.device("cpu")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        net(torch.zeros(1, 3, lr_size, lr_size, device=device))
    return {"parameters": parameters, "macs": counter.get_total_flops() // 2}
