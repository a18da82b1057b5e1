"""Networks under their papers' names: restorers, recognition networks, detectors and the embedder.

``METHODS`` lists the restorers of faces, ``VIDEO`` those of clips, ``RECOGNISERS`` the recognition
networks and ``DETECTORS`` the networks of face detectors that are trained here; each network has
its own module, one a paper, under ``sr``, ``video``, ``recognition`` and ``detection``.
:func:`restorer`, :func:`recogniser` and :func:`embedder` build one, :func:`register` adds a method
of your own.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Literal

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from lrface.degrade import to_uint8
from lrface.errors import UsageError
from lrface.models import csri, joint, losses, own
from lrface.models.detection import cascade, faceness
from lrface.models.recipe import Recipe
from lrface.models.recognition import (
    attributes,
    centreface,
    deepid2,
    frnet,
    judges,
    rpcn,
    sphereface,
    vgg_face,
)
from lrface.models.recognition.align import align
from lrface.models.recognition.dlib_resnet import chips
from lrface.models.sr import (
    aplus,
    bicubic,
    cbn_training,
    dic,
    drrn,
    edsr,
    eigenface,
    fsrcnn,
    han,
    hifacegan,
    rcan,
    rdn,
    srcnn,
    srnet,
    vdsr,
    wavelet_srnet,
)
from lrface.models.stages import TrainingStage
from lrface.models.video import edvr, mucan, vidface

__all__ = [
    "DETECTORS",
    "METHODS",
    "RECOGNISERS",
    "VIDEO",
    "Method",
    "Recipe",
    "align",
    "behaviour",
    "build",
    "chips",
    "cost",
    "embedder",
    "find",
    "foreign",
    "in_batches",
    "known_as",
    "method",
    "recogniser",
    "register",
    "register_embedder",
    "restored",
    "restorer",
]

SCALES = (2, 3, 4, 8)
EVEN_SCALES = (2, 4, 8)
"""Without 3x: a wavelet level halves a side, and Eigenface's 128 pixels are no multiple of 3."""
SIZES = ("small", "narrow", "paper", "large")
"""Of networks, the smallest first."""
JOINT = "Wu et al., Deep joint face hallucination and recognition, 2016"


@dataclass(frozen=True)
class Method:
    """A restoration or recognition method: how its network is built and trained."""

    name: str
    build: Callable[..., nn.Module]
    """(scale, size) -> network with an attribute ``scale``; of a recognition network (identities,
    size, scale) -> network; of a detector's (scale, size) -> network, with scale 1."""
    source: str
    version: int = 1
    """Part of a run's key: raise it when the method's behaviour changes on purpose, and networks
    trained by other versions are no longer reused."""
    scales: tuple[int, ...] = SCALES
    trainable: bool = True
    """False for interpolation, which has no weights."""
    objectives: Mapping[str, Callable[[nn.Module], nn.Module]] = field(default_factory=dict)
    """The method's own losses by name (``paper``, ``code``): each builds, for a network, the
    objective that :func:`lrface.training.loop.train` descends."""
    needs_landmarks: bool = False
    """Whether its objectives need the faces' 68 landmarks."""
    face_size: int | None = None
    """The only side of HR faces, or of a detector's windows, that it is trained on, in pixels;
    None: any."""
    restores: bool = True
    """Whether its network, in evaluation mode, returns a face."""
    labels: Literal["identity", "attributes", "windows", "parts"] = "identity"
    """What a recognition network classifies faces by; a detector learns the labels of windows, or
    of windows with the attributes of facial parts."""
    fit_closed_form: Callable[[nn.Module, Iterator[tuple[Tensor, Tensor]]], None] | None = None
    """For a network without gradient descent: computes its weights from one pass over pairs (lr,
    hr)."""
    stages: Callable[[nn.Module, str, int | None], list[TrainingStage]] | None = None
    """For a network that is trained part after part: its stages under a loss (a key of
    ``objectives``) on patches of a side (None: whole faces)."""
    recipe: Recipe | None = None
    """How it is trained; a restoration method without one is trained as EDSR is."""
    sizes: tuple[str, ...] = ("small", "paper")
    """The smallest first."""
    tiles: bool = True
    """Whether a large picture may be restored in tiles: False if the network looks at the whole."""
    own: bool = False
    """Registered by a user: its behaviour is then part of keys, where ``version`` is not enough."""


def _ordered(sizes: Collection[str]) -> tuple[str, ...]:
    return tuple(size for size in SIZES if size in sizes)


def _cbn(name: str, arm: dict) -> Method:
    return Method(
        name,
        partial(cbn_training.build, **arm),
        "Zhu et al., ECCV 2016",
        cbn_training.VERSION,
        cbn_training.SCALES,
        objectives=cbn_training.OBJECTIVES,
        needs_landmarks=True,
        stages=cbn_training.stages,
        recipe=cbn_training.RECIPE,
        sizes=_ordered(cbn_training.SIZES),
        tiles=False,
    )


def _restorer(name: str, module: ModuleType, source: str) -> Method:
    """A restorer of any picture that is trained with a loss between pictures."""
    recipe = getattr(module, "RECIPE", None)
    return Method(
        name, module.build, source, module.VERSION, recipe=recipe, sizes=_ordered(module.SIZES)
    )


METHODS: dict[str, Method] = {
    m.name: m
    for m in (
        Method("bicubic", bicubic.build, "Keys 1981, as MATLAB's imresize", trainable=False),
        _restorer("SRCNN", srcnn, "Dong et al., TPAMI 2016"),
        Method(
            "SRNET",
            srnet.build,
            JOINT,
            srnet.VERSION,
            objectives={
                "paper": lambda net: srnet.PaperLoss(),
                "identity": lambda net: losses.IdentityLoss(),
            },
        ),
        Method(
            "EDSR",
            edsr.build,
            "Lim et al., CVPRW 2017",
            edsr.VERSION,
            objectives={"identity": lambda net: losses.IdentityLoss()},
            recipe=edsr.RECIPE,
            sizes=_ordered(edsr.SIZES),
        ),
        _restorer("RCAN", rcan, "Zhang et al., ECCV 2018"),
        _restorer("RDN", rdn, "Zhang et al., CVPR 2018"),
        _restorer("HAN", han, "Niu et al., ECCV 2020"),
        Method(
            "WaveletSRNet",
            wavelet_srnet.build,
            "Huang et al., ICCV 2017",
            wavelet_srnet.VERSION,
            EVEN_SCALES,
            objectives={"paper": wavelet_srnet.PaperLoss},
            recipe=wavelet_srnet.RECIPE,
            sizes=_ordered(wavelet_srnet.SIZES),
        ),
        Method(
            "Eigenface",
            eigenface.build,
            "Wang and Tang, IEEE TSMC-C 2005",
            eigenface.VERSION,
            EVEN_SCALES,
            face_size=eigenface.FACE,
            fit_closed_form=eigenface.fit_closed_form,
            recipe=eigenface.RECIPE,
            sizes=_ordered(eigenface.COMPONENTS),
            tiles=False,
        ),
        Method(
            "DICNet",
            dic.build,
            "Ma et al., CVPR 2020",
            dic.VERSION,
            dic.SCALES,
            objectives=dic.NET_OBJECTIVES,
            needs_landmarks=True,
            recipe=dic.NET_RECIPE,
            sizes=_ordered(dic.SIZES),
            tiles=False,
        ),
        Method(
            "DICGAN",
            dic.build,
            "Ma et al., CVPR 2020",
            dic.VERSION,
            dic.SCALES,
            objectives=dic.GAN_OBJECTIVES,
            needs_landmarks=True,
            recipe=dic.GAN_RECIPE,
            sizes=_ordered(dic.SIZES),
            tiles=False,
        ),
        Method(
            "HiFaceGAN",
            hifacegan.build,
            "Yang et al., ACM MM 2020",
            hifacegan.VERSION,
            objectives=hifacegan.OBJECTIVES,
            recipe=hifacegan.RECIPE,
            sizes=_ordered(hifacegan.SIZES),
            tiles=False,
        ),
        _restorer("VDSR", vdsr, "Kim et al., CVPR 2016"),
        _restorer("DRRN", drrn, "Tai et al., CVPR 2017"),
        _restorer("FSRCNN", fsrcnn, "Dong et al., ECCV 2016"),
        Method(
            "A+",
            aplus.build,
            "Timofte et al., ACCV 2014",
            aplus.VERSION,
            fit_closed_form=aplus.fit_closed_form,
            recipe=aplus.RECIPE,
        ),
        *(_cbn(name, arm) for name, arm in cbn_training.ARMS.items()),
    )
}


RECOGNISERS: dict[str, Method] = {
    m.name: m
    for m in (
        Method(
            "FRNET",
            frnet.build,
            JOINT,
            frnet.VERSION,
            objectives={"softmax": lambda net: frnet.Softmax(), "paper": frnet.PaperLoss},
            needs_landmarks=True,
            restores=False,
        ),
        Method(
            "Joint",
            joint.build,
            JOINT,
            joint.VERSION,
            objectives={"paper": joint.PaperLoss},
            needs_landmarks=True,
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
            labels="attributes",
        ),
        Method(
            "PANDA-like",
            attributes.build_panda,
            "after Zhang et al., CVPR 2014",
            attributes.VERSION,
            objectives={"logistic": lambda net: attributes.Logistic()},
            needs_landmarks=True,
            restores=False,
            labels="attributes",
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
"""Networks that classify the identity or the attributes of a face; some restore it first."""


def _video(name: str, module: ModuleType, **options) -> Method:
    return Method(
        name,
        partial(module.build, **options),
        module.SOURCE,
        module.VERSION,
        module.SCALES,
        objectives=module.OBJECTIVES,
        recipe=module.RECIPE,
        sizes=_ordered(module.SIZES),
    )


VIDEO: dict[str, Method] = {
    m.name: m
    for m in (
        *(_video(name, vidface, **options) for name, options in vidface.OPTIONS.items()),
        _video("EDVR", edvr),
        _video("MuCAN", mucan),
    )
}
"""Restorers of clips, and the ablations of VidFace: they map float (N, T, 3, h, w) in [0, 1] to all
frames, (N, T, 3, 8h, 8w), or to the middle one, (N, 3, 8h, 8w)."""


DETECTORS: dict[str, Method] = {
    name: Method(
        name,
        part.build,
        cascade.SOURCE,
        cascade.VERSIONS[part.stage],
        (1,),
        objectives=part.objectives,
        face_size=part.range.side,
        restores=False,
        labels="windows",
        sizes=("small",),
    )
    for name, part in cascade.PARTS.items()
} | {
    faceness.NAME: Method(
        faceness.NAME,
        faceness.build,
        faceness.SOURCE,
        faceness.VERSION,
        (1,),
        objectives={"paper": lambda net: faceness.PartLoss()},
        face_size=faceness.RANGE.side,
        restores=False,
        labels="parts",
        stages=faceness.stages,
        sizes=("small",),
    )
}
"""The networks of face detectors: they learn from windows (:func:`lrface.data.load_windows`, and
:func:`lrface.data.load_part_windows`)."""


def register(
    name: str, build: Callable[[int, str], nn.Module], source: str, version: int = 1, **fields
) -> Method:
    """Add a restoration method of your own, or replace one.

    Parameters
    ----------
    name : str
        Its name in tables, on the command line and in :class:`lrface.runs.Config`.
    build : callable
        ``build(scale, size)`` returns an ``nn.Module`` that maps float (N, 3, h, w) in [0, 1] to
        (N, 3, h * scale, w * scale): your own class, or a checkpoint opened by spandrel.
    source : str
        Its paper or author.
    version : int
        Raise it when you change what the method's behaviour does not show. That is what the network
        and its own objective compute from a fixed seed: networks that were trained by code that
        behaved otherwise are not reused.
    **fields
        Other fields of :class:`Method`: ``scales``, ``objectives``, ``recipe``, ...
        ``trainable=False``: the network is ready-made.

    Returns
    -------
    Method

    Examples
    --------
    >>> nearest = lambda scale, size: nn.Upsample(scale_factor=scale)
    >>> register("nearest", nearest, source="an example", trainable=False).scales
    (2, 3, 4, 8)
    >>> restorer("nearest", 2)(torch.zeros(1, 3, 4, 4)).shape
    torch.Size([1, 3, 8, 8])
    >>> del METHODS["nearest"]
    """
    METHODS[name] = Method(name, build, source, version, own=True, **{"sizes": SIZES[:3]} | fields)
    return METHODS[name]


def foreign(path: str | Path, name: str = "", **fields) -> Method:
    """Add a ready-made network from a checkpoint: any architecture that spandrel knows.

    Parameters
    ----------
    path : str or Path
        A ``.pth``, ``.pt``, ``.ckpt`` or ``.safetensors`` file. No code in it is run.
    name : str
        Its name in tables; default: the file's without its suffix.
    **fields
        Other fields of :class:`Method`, such as ``tiles=False``.

    Returns
    -------
    Method
        Works at the scale that the checkpoint has. Its ``source`` names the architecture, the file
        and the first digits of its sha256.

    Raises
    ------
    UsageError
        The file is missing, or no checkpoint by its name.
    LrfaceError
        It cannot be opened, or spandrel does not know its architecture.

    Examples
    --------
    >>> foreign("no.pth")
    Traceback (most recent call last):
        ...
    lrface.errors.UsageError: no.pth is no checkpoint: give a .pth, .pt, .ckpt or .safetensors file
    """
    path = Path(path).expanduser()
    net, architecture, digest = own.open_foreign(path)
    source = f"{architecture}, {path.name}, sha256 {digest[:16]}"
    fields = {"trainable": False, "scales": (net.scale,), "sizes": ("paper", "small")} | fields
    return register(name or path.stem, lambda scale, size: net, source, **fields)


def known_as(name: str, net: nn.Module) -> str:
    """What tells a network from others in the keys of scores, its trained weights aside.

    Parameters
    ----------
    name : str
        Its method.
    net : Module

    Returns
    -------
    str
        The name of its class; of a user's own method with the digits of its behaviour.

    Examples
    --------
    >>> known_as("bicubic", restorer("bicubic", 2))
    'Bicubic'
    """
    kind = type(net).__name__
    return f"{kind} {own.of_network(net)}" if name in METHODS and METHODS[name].own else kind


def behaviour(name: str, scale: int, size: str, loss: str) -> str:
    """16 hex digits of what a user's own method computes (:func:`lrface.models.own.of_method`)."""
    chosen = method(name)
    return own.of_method(chosen.build, scale, size, chosen.objectives.get(loss))


def method(name: str) -> Method:
    """The restoration method of this name.

    Parameters
    ----------
    name : str
        A key of ``METHODS`` or ``VIDEO``.

    Returns
    -------
    Method

    Raises
    ------
    UsageError
        For an unknown name, with the nearest known one.

    Examples
    --------
    >>> method("DICNet").scales
    (4, 8)
    """
    if name in VIDEO:
        return VIDEO[name]
    if name not in METHODS:
        known = [*METHODS, *VIDEO]
        close = [m for m in known if m.lower() == name.lower()]
        alike = {m: difflib.SequenceMatcher(None, name, m).ratio() for m in known}
        close += [m for m in known if alike[m] == max(0.5, *alike.values())]
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise UsageError(f"unknown method {name!r}: {hint}known are {', '.join(known)}")
    return METHODS[name]


def find(name: str) -> Method:
    """The method of this name of any kind; raises as :func:`method` does.

    Examples
    --------
    >>> find("FRNET").restores, find("EDSR").restores
    (False, True)
    """
    return RECOGNISERS.get(name) or DETECTORS.get(name) or method(name)


def restorer(name: str, scale: int, size: str | None = None) -> nn.Module:
    """An untrained restoration network (``bicubic`` needs no training).

    Parameters
    ----------
    name : str
        A restoration method (a key of ``METHODS`` or ``VIDEO``).
    scale : int
        2, 3, 4 or 8, of CBN also 16; not every method works at each.
    size : {"small", "narrow", "paper", "large"}, optional
        ``paper`` has its authors' numbers (of EDSR: the baseline that benchmarks train; ``large``
        is its paper's largest). ``narrow`` has the depth and structure of ``paper`` and a fraction
        of its width; ``small`` is shallower, too. Not every method comes in every size. By default
        the smallest.

    Returns
    -------
    Module
        Maps float (N, 3, h, w) in [0, 1] to (N, 3, h * scale, w * scale), with the attribute
        ``scale``; or clips, as ``VIDEO`` says. Its output is not clipped to [0, 1]. In training
        mode; in evaluation mode if there is nothing to train.

    Raises
    ------
    UsageError
        For an unknown name or size, or a scale the method does not work at.

    Examples
    --------
    >>> restorer("EDSR", scale=4)(torch.rand(2, 3, 8, 12)).shape
    torch.Size([2, 3, 32, 48])
    """
    chosen = method(name)
    if scale not in chosen.scales:
        scales = ", ".join(f"{s}x" for s in chosen.scales)
        raise UsageError(f"{name} does not work at {scale}x: choose one of {scales}")
    size = size or chosen.sizes[0]
    _check_size(name, size)
    net = chosen.build(scale, size)
    net.scale = scale
    return net if chosen.trainable else net.eval()


def recogniser(name: str, classes: int, size: str = "small", scale: int = 1) -> nn.Module:
    """An untrained recognition network.

    Parameters
    ----------
    name : str
        A recognition network (a key of ``RECOGNISERS``).
    classes : int
        Training identities, or attributes.
    size : {"small", "paper"}
        ``paper`` has its authors' numbers, ``small`` is the same structure for a CPU.
    scale : int
        For ``Joint`` and ``CSRI``, which restore faces that many times smaller before they
        recognise them.

    Returns
    -------
    Module
        Maps float faces (N, 3, H, W) in [0, 1] to features (N, D); in training mode to (features,
        logits (N, classes)). How faces are cropped for it, and how its features are compared, is in
        the network's own module.

    Raises
    ------
    UsageError
        For an unknown name or size.

    Examples
    --------
    >>> net = recogniser("FRNET", classes=10).eval()
    >>> net(torch.rand(1, 3, 124, 108)).shape
    torch.Size([1, 256])
    """
    if name not in RECOGNISERS:
        known = ", ".join(RECOGNISERS)
        raise UsageError(f"unknown recognition network {name!r}: known are {known}")
    _check_size(name, size)
    return RECOGNISERS[name].build(classes, size, scale)


def build(name: str, scale: int, size: str | None = None, classes: int | None = None) -> nn.Module:
    """The untrained network of this name: :func:`restorer`, :func:`recogniser` or a detector's."""
    if name in RECOGNISERS:
        return recogniser(name, classes, size or "small", scale)
    if name in DETECTORS:
        return DETECTORS[name].build(scale, size or "small")
    return restorer(name, scale, size)


def embedder(name: str = "dlib") -> nn.Module:
    """A pretrained judge of identity: aligned faces to vectors.

    Parameters
    ----------
    name : str
        ``"dlib"``: dlib's ResNet (:mod:`lrface.models.recognition.dlib_resnet`), which needs no
        download; or one of your own (:func:`register_embedder`).

    Returns
    -------
    Module
        In evaluation mode. Maps uint8 or float crops in 0..255 to float32 (N, D); dlib's takes
        chips (N, 3, 150, 150) (see :func:`chips`) and gives 128 numbers. ``distance`` names the
        metric that compares them, ``"euclidean"`` or ``"cosine"``; ``label`` describes it for
        tables; ``crop(images, points68)`` cuts faces as it wants them.

    Raises
    ------
    UsageError
        For an unknown name.

    Examples
    --------
    >>> judge = embedder("dlib")
    >>> judge(torch.zeros(1, 3, 150, 150)).shape, judge.distance, judge.label
    (torch.Size([1, 128]), 'euclidean', 'dlib 128-d')
    """
    return judges.build(name)


def register_embedder(
    name: str,
    build: Callable[[], nn.Module],
    source: str,
    distance: Literal["euclidean", "cosine"] = "cosine",
    crop: Callable[[Tensor, Tensor], Tensor] | tuple[int, int] = (112, 96),
) -> None:
    """Add a judge of identity of your own, or replace one.

    Parameters
    ----------
    name : str
        Its name in columns, tables and keys.
    build : callable
        Returns an ``nn.Module`` that maps crops, float (N, 3, rows, columns) in 0..255, RGB, to
        (N, D).
    source : str
        Its paper or author.
    distance : {"euclidean", "cosine"}
        The metric that compares its vectors.
    crop : (rows, columns) or callable
        How faces are cut for it: aligned by five points (:func:`align`) at this size, or
        ``crop(images, points68)``: uint8 or float (N, 3, H, W) and landmarks (N, 68, 2) to crops.

    Examples
    --------
    >>> pooled = lambda: nn.Sequential(nn.AvgPool2d(16), nn.Flatten())
    >>> register_embedder("pooled", pooled, source="an example")
    >>> judge = embedder("pooled")
    >>> faces, points = torch.zeros(2, 3, 128, 128), 128 * torch.rand(2, 68, 2)
    >>> judge(judge.crop(faces, points)).shape, judge.label
    (torch.Size([2, 126]), 'pooled')
    >>> del judges.EMBEDDERS["pooled"]
    """
    judges.EMBEDDERS[name] = judges.Embedder(name, build, source, distance, crop)


def cost(net: nn.Module, lr_size: int) -> dict[str, int]:
    """Parameters and multiply-accumulates of a network, counted and not measured.

    Of a network that restores clips: :func:`lrface.models.video.cost.cost`.

    Parameters
    ----------
    net : Module
        A restorer of faces.
    lr_size : int
        Side of the square LR face, in pixels.

    Returns
    -------
    dict
        ``parameters``: those that are trained, or the numbers a closed-form network stores.
        ``macs``: multiply-accumulates for one face (3, lr_size, lr_size).

    Examples
    --------
    >>> cost(restorer("SRCNN", scale=4, size="paper"), lr_size=32)["parameters"]
    20099
    """
    weights = [p for p in net.parameters() if p.requires_grad] or [*net.buffers()]
    parameters = sum(w.numel() for w in weights)
    device = weights[0].device if weights else torch.device("cpu")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        net(torch.zeros(1, 3, lr_size, lr_size, device=device))
    return {"parameters": parameters, "macs": counter.get_total_flops() // 2}


def _check_size(name: str, size: str) -> None:
    sizes = find(name).sizes
    if size not in sizes:
        choices = " or ".join(repr(one) for one in sorted(sizes))
        raise UsageError(f"unknown size {size!r} for {name}: choose {choices}")


@torch.no_grad()
def in_batches(
    function: Callable[..., Tensor],
    *inputs: Tensor,
    size: int = 16,
    device: str | torch.device = "cpu",
) -> Tensor:
    """``function`` of inputs that belong together row by row, so many rows at a time on a device,
    without gradients; the results are joined on the CPU.

    Examples
    --------
    >>> in_batches(lambda x, y: x + y, torch.ones(5, 2), torch.ones(5, 2), size=2).shape
    torch.Size([5, 2])
    """
    found = []
    for start in range(0, len(inputs[0]), size):
        rows = (x[start : start + size] for x in inputs)
        rows = (x.to(device) if torch.is_tensor(x) else x for x in rows)
        found.append(function(*rows).cpu())
    return torch.cat(found)


def restored(
    net: nn.Module, lr: Tensor, size: int = 8, device: str | torch.device = "cpu"
) -> Tensor:
    """Faces restored by a network and rounded to 8 bits at once, so many at a time.

    Parameters
    ----------
    net : Module
        A restorer in evaluation mode, on ``device``.
    lr : Tensor
        Small faces, uint8 (N, 3, h, w), or float in [0, 1]: as uint8 they take a quarter of the
        memory.
    size : int
        Faces a batch.
    device : str or device

    Returns
    -------
    Tensor
        uint8 (N, 3, H, W), on the CPU.

    Examples
    --------
    >>> restored(restorer("bicubic", 2), torch.zeros(3, 3, 8, 8, dtype=torch.uint8)).shape
    torch.Size([3, 3, 16, 16])
    """

    def one(faces: Tensor) -> Tensor:
        return to_uint8(net(faces if faces.is_floating_point() else faces.float() / 255))

    return in_batches(one, lr, size=size, device=device)
