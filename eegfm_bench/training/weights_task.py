"""What a worker does about weights: find, read, match, prove, and say what is known.

From: tasks as plain data. To: outcomes as plain data. Torch is imported when there is
work for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eegfm_bench.errors import WeightsError
from eegfm_bench.runs.spec import with_later_options

if TYPE_CHECKING:
    from torch import Tensor

    from eegfm_bench.models._spec import InputShape, ModelSpec
    from eegfm_bench.models._weights import PublicWeights
    from eegfm_bench.weights.files import WeightsFile

Event = dict[str, Any]

N_PROBED = 4
# Noise that stands for windows where there are none, and its deviation.
PROBE_UV = 20.0


def resolve_weights(task: Event, send: Any) -> Event:
    """Find the weights of a run and prove that they load; say what its ``init`` is.

    The task's ``store`` is a folder of windows, whose shape the model gets and on which
    the encoder is probed; without, the shape is a ``dataset``'s, if it names one, or
    the file's own, and the probe noise. ``given`` is a path, ``hub`` or ``hub:KEY``.

    Raises
    ------
    WeightsError, UnknownName
        If they cannot be had, or do not load as ``allow_partial`` says.
    """
    from eegfm_bench.models._spec import find_model
    from eegfm_bench.weights.files import read_weights
    from eegfm_bench.weights.find import resolve
    from eegfm_bench.weights.loading import load, refuse_untrained
    from eegfm_bench.weights.pretrained import refuse_unlike

    spec = find_model(task["model"])
    refuse_untrained(spec)
    path = resolve(spec, task["given"])
    file = read_weights(path)
    options = spec.options_for(task["scale"], task["options"])
    _refuse_other_options(spec, file, options)
    refuse_unlike(
        file.path,
        model=spec.name,
        version=spec.version,
        scale=task["scale"],
        options=options,
    )
    if task["store"] is not None:
        _refuse_people_seen(file, saved_as(spec, file), Path(task["store"]))
    if task["store"] is None:
        shape = _asked_shape(task, spec, file)
        probe_x = noise(shape)
    else:
        shape, probe_x = _of_store(Path(task["store"]))
    model = _built(spec, shape, task["scale"], options)
    report = load(
        model, spec, file, allow_partial=task["allow_partial"], probe_x=probe_x
    )
    if not task["allow_partial"]:
        _refuse_other_function(
            model,
            spec,
            file,
            probe_x,
            shape=shape,
            scale=task["scale"],
            options=options,
        )
    return {
        "init": report.weights_id,
        "path": str(path),
        "report": report.model_dump(mode="json"),
    }


def about_weights(task: Event, send: Any) -> Event:
    """Say which public weights a model has, and which layouts are understood."""
    from eegfm_bench.models._spec import find_model
    from eegfm_bench.weights.find import address, checksum, in_cache

    spec = find_model(task["model"])
    return {
        "model": spec.name,
        "title": spec.title,
        "trained_by": spec.trained_by,
        "public": [
            {
                "key": entry.key,
                "repository": entry.hub or None,
                "file": entry.file,
                "revision": entry.revision,
                "address": address(entry),
                "licence": entry.licence,
                "checksum": checksum(entry) or None,
                "pretrained_on": list(entry.pretrained_on),
                "channels": list(entry.channels),
                "options": dict(entry.options),
                "layout": entry.layout,
                "source": entry.source,
                "in_cache": _plain(in_cache(spec, entry)),
            }
            for entry in spec.weights.public
        ],
        "layouts": ["own", *(layout.name for layout in spec.weights.layouts)],
    }


def check_weights(task: Event, send: Any) -> Event:
    """Load a file into a model made for it, and say what became of every tensor.

    The task may name ``channels``, ``n_times`` or a ``dataset``; else the shape is the
    file's own, as far as it says. Without ``scale``, so is that.

    Raises
    ------
    WeightsError, SpecError, UnknownName
        If the file cannot be had or read, or the model not be built.
    """
    from eegfm_bench.models._spec import find_model
    from eegfm_bench.weights.files import read_weights
    from eegfm_bench.weights.find import resolve
    from eegfm_bench.weights.loading import load, match, refuse_untrained

    spec = find_model(task["model"])
    refuse_untrained(spec)
    path = resolve(spec, task["given"])
    file = read_weights(path)
    saved = saved_as(spec, file)
    scale = task["scale"] or saved.get("scale") or "paper"
    options = spec.options_for(scale, {**_options(spec, file), **task["options"]})
    shape = _asked_shape(task, spec, file)
    model = _built(spec, shape, scale, options)
    found = match(model, spec, file)
    report, refused = found.report, None
    try:
        report = load(model, spec, file, probe_x=noise(shape))
    except WeightsError as error:
        refused = str(error)
    return {
        "model": spec.name,
        "path": str(path),
        "scale": scale,
        "n_channels": shape.n_channels,
        "n_times": shape.n_times,
        "rate_hz": shape.rate_hz,
        "init": report.weights_id if found.state else None,
        "is_full": refused is None,
        "refused": refused,
        "report": report.model_dump(mode="json"),
    }


def saved_as(spec: ModelSpec, file: WeightsFile) -> Mapping[str, Any]:
    """Return what a folder that this suite saved of the model says; else nothing."""
    about = file.about.get("eegfm_bench")
    if isinstance(about, Mapping) and about.get("model") == spec.name:
        return about
    return {}


def shape_of(spec: ModelSpec, file: WeightsFile) -> InputShape:
    """Return windows that a file fits, as far as it or its publisher says."""
    from dataclasses import replace

    from eegfm_bench.weights.find import channels_of
    from eegfm_bench.weights.loading import USUAL

    saved = saved_as(spec, file)
    rate_hz = saved.get("rate_hz") or spec.rate_hz or USUAL.rate_hz
    return replace(
        USUAL,
        channels=channels_of(spec, file) or USUAL.channels,
        rate_hz=rate_hz,
        n_times=saved.get("n_times") or round(10 * rate_hz),
        n_classes=saved.get("n_classes") or USUAL.n_classes,
    )


def noise(shape: InputShape) -> Tensor:
    """Return noise (B, C, T) in µV, or (B, S, C, T) in sequence: always the same."""
    import torch

    inner = (shape.sequence,) if shape.sequence > 1 else ()
    size = (N_PROBED, *inner, shape.n_channels, shape.n_times)
    return PROBE_UV * torch.randn(size, generator=torch.Generator().manual_seed(0))


def _of_store(path: Path) -> tuple[InputShape, Tensor]:
    """Return the shape and the first windows of the training part."""
    import numpy as np
    import torch

    from eegfm_bench.training.fit import input_shape
    from eegfm_bench.windows.store import WindowStore

    store = WindowStore(path)
    shape = input_shape(store)
    rows = store.rows("train")[: N_PROBED * shape.sequence]
    if not len(rows):
        return shape, noise(shape)
    x = torch.from_numpy(np.array(store.x[rows]))
    return shape, x.unflatten(0, (-1, shape.sequence)) if shape.sequence > 1 else x


def _built(
    spec: ModelSpec, shape: InputShape, scale: str, options: Mapping[str, Any]
) -> Any:
    """Build a model at a start of its own, which no run shares."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return spec.build(shape, scale=scale, options=options)


def _asked_shape(task: Event, spec: ModelSpec, file: WeightsFile) -> InputShape:
    from dataclasses import replace

    shape = shape_of(spec, file)
    if task.get("dataset"):
        from eegfm_bench.datasets._spec import find_dataset

        dataset = find_dataset(task["dataset"])
        recipe = dataset.recipe.at(spec.rate_hz)
        shape = replace(
            shape,
            channels=tuple(recipe.channels),
            n_times=recipe.n_times,
            rate_hz=recipe.rate_hz,
            n_classes=len(dataset.classes),
            sequence=recipe.sequence,
        )
    if task.get("channels"):
        shape = replace(shape, channels=tuple(task["channels"]))
    if task.get("n_times"):
        shape = replace(shape, n_times=task["n_times"])
    return shape


def _options(spec: ModelSpec, file: WeightsFile) -> dict[str, Any]:
    """Return options that a file was made with, as far as anybody says."""
    from eegfm_bench.weights.find import entry_of

    entry: PublicWeights | None = entry_of(spec, file)
    saved = saved_as(spec, file).get("options") or {}
    return {**({} if entry is None else entry.options), **saved}


def _refuse_other_options(
    spec: ModelSpec, file: WeightsFile, options: Mapping[str, Any]
) -> None:
    """Refuse options under which public weights would compute something else."""
    from eegfm_bench.weights.find import entry_of

    entry = entry_of(spec, file)
    needed = {} if entry is None else entry.options
    wrong = {key: value for key, value in needed.items() if options[key] != value}
    if entry is not None and wrong:
        settings = " ".join(f"--set {key}={value}" for key, value in wrong.items())
        raise WeightsError(
            f"The weights '{entry.key}' of {spec.name} need other options than asked "
            f"for ({entry.source}). Add {settings}."
        )


def _refuse_people_seen(
    file: WeightsFile, saved: Mapping[str, Any], store: Path
) -> None:
    """Refuse weights that learnt from people whom these windows score."""
    from eegfm_bench.weights.pretrained import refuse_scored, refuse_trained
    from eegfm_bench.windows.store import WindowStore

    windows = WindowStore(store)
    index = windows.index[["person", "part"]].drop_duplicates()
    people = [(str(row.person), str(row.part)) for row in index.itertuples()]
    dataset = windows.manifest["dataset"]
    refuse_scored(file.path, dataset, people)
    learnt, of = saved.get("persons"), saved.get("dataset")
    protocol = of.get("protocol") if isinstance(of, Mapping) else None
    # Under one protocol, whoever is in two parts is there by its publisher's split.
    if isinstance(learnt, Mapping) and protocol != windows.manifest["protocol"]:
        lists = {part: own for part, own in learnt.items() if isinstance(own, list)}
        refuse_trained(file.path, dataset, lists, people)


def _refuse_other_function(
    model: Any,
    spec: ModelSpec,
    file: WeightsFile,
    probe_x: Tensor,
    *,
    shape: InputShape,
    scale: str,
    options: Mapping[str, Any],
) -> None:
    """Refuse options under which a saved model's weights compute something else.

    Options that shape no tensor, such as the number of heads, pass unseen otherwise.
    Those of the head, of dropout and of the random start change nothing here: whether
    any does is asked of the encoder as it was saved.
    """
    import torch

    from eegfm_bench.errors import BenchError
    from eegfm_bench.weights.loading import load, probe_features

    saved = saved_as(spec, file).get("options")
    saved = with_later_options(spec.name, saved) if isinstance(saved, Mapping) else {}
    known = {key: value for key, value in saved.items() if key in options}
    other = {key: value for key, value in known.items() if options[key] != value}
    if not other:
        return
    try:
        as_saved = _built(spec, shape, scale, {**options, **known})
        load(as_saved, spec, file)
    except BenchError:
        return  # not to be had for these windows: nothing to hold it against
    found = [probe_features(each, probe_x) for each in (model, as_saved)]
    if found[0].shape == found[1].shape and torch.equal(*found):
        return
    settings = " ".join(f"--set {key}={value}" for key, value in other.items())
    raise WeightsError(
        f"{file.path}: was saved with other options than asked for, under which its "
        f"encoder gives other features of the same windows. Add {settings}, or, to go "
        f"on with other options, --allow-partial-weights."
    )


def _plain(path: Path | None) -> str | None:
    return None if path is None else str(path)
