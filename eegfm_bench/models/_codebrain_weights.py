"""Which weights CodeBrain has in public, and how files name them.

From: the published facts, and the renames that braindecode's class makes when it is
given the public file. To: ``codebrain``.
"""

from __future__ import annotations

from collections.abc import Iterator

from eegfm_bench.models._weights import Layout, PublicWeights, Weights

# Layers of the public weights, and more scales of kernels than they have.
N_PUBLIC_LAYERS, MOST_SCALES = 8, 16

# What no class needs: the mask, the maps to codes, and what follows the last layer.
OF_PRETRAINING = ("patch_embedding.mask_encoding", "lm_head_t.", "lm_head_f.")


def _source_names() -> Iterator[tuple[str, str]]:
    """Name what the public file calls otherwise: (ours, theirs)."""
    blocks = [f"residual_layer.residual_blocks.{i}." for i in range(N_PUBLIC_LAYERS)]
    for block in blocks:
        # The longer numbers first: a name is renamed by the first that it begins with.
        for k in reversed(range(MOST_SCALES)):
            of_scale = f"S41.kernel_list.{k}.kernel"
            yield f"net.{block}sgconv.kernel_list.{k}", block + of_scale
        yield f"net.{block}sgconv.skip_weight", f"{block}S41.D"
        yield f"net.{block}sgconv.", f"{block}S41."
        yield f"net.{block}rms_norm.", f"{block}sn."
    inside = ("conv_layer.conv.", "res_conv.", "skip_conv.")
    for conv in (
        *("init_conv.0.conv.", "final_conv.0.conv."),
        *(block + conv for block in blocks for conv in inside),
    ):
        yield f"net.{conv}parametrizations.weight.original0", f"{conv}weight_g"
        yield f"net.{conv}parametrizations.weight.original1", f"{conv}weight_v"
    yield "net.", ""


_LAST = f"residual_layer.residual_blocks.{N_PUBLIC_LAYERS - 1}."

WEIGHTS = Weights(
    public=(
        PublicWeights(
            key="source",
            hub="YjMajy/CodeBrain",
            file="CodeBrain.pth",
            revision="bef08d2fdb1759685371cc635aad21ce59163689",
            layout="source",
            licence="Apache-2.0 (card of the weights)",
            source="the card of the weights; revision and checksum are what several "
            "who fetched it state, with github.com/jingyingma01/CodeBrain at 22d350c",
            sha256="d9714b8732c9883a04d022ee66254cd578ae1fa27f5458e6ab7f1aa96e9a7352",
            pretrained_on=("TUEG",),
        ),
        PublicWeights(
            key="braindecode",
            hub="braindecode/codebrain-pretrained",
            file="model.safetensors",
            revision="1ba45893685e6d5d2d51967cb48b1992c61668ef",
            layout="braindecode",
            licence="BSD-3-Clause (card of the weights)",
            source="braindecode 1.8.1, models/codebrain.py, and the commit that put "
            "the weights there; no checksum is stated",
            pretrained_on=("TUEG",),
        ),
    ),
    layouts=(
        Layout(
            name="source",
            renames=tuple(_source_names()),
            unused=(*OF_PRETRAINING, f"{_LAST}sn.", f"{_LAST}res_conv."),
        ),
        Layout(
            name="braindecode",
            renames=(("net.", ""),),
            unused=(
                *(*OF_PRETRAINING, "final_layer."),
                # Of whichever layer is the last; of another, they are the encoder's.
                *(
                    f"residual_layer.residual_blocks.{i}.{part}."
                    for i in range(N_PUBLIC_LAYERS)
                    for part in ("rms_norm", "res_conv")
                ),
            ),
        ),
    ),
    any_channels=True,
    # No tensor's shape depends on channels or length: kernels are cut or filled up to
    # the row of tokens in each pass. Of attention, queries, keys and values are one
    # weight that no layer owns, and stay; most of a layer is convolutions, which stay.
    lora=(
        r"(.*\.)?net\.residual_layer\.residual_blocks\.\d+\.attention\.out_proj",
        r"(.*\.)?net\.residual_layer\.residual_blocks\.\d+\.sgconv\.output_linear",
    ),
)
