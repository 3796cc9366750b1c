"""The child process of `bev.sfm`: structure from motion with pycolmap, alone with it.

Run as a file, `python -P sfm_process.py FOLDER`, never imported beside torch: the two in one process corrupt the heap.
Reads `FOLDER/request.json` and the images that it names; says on standard output how far it is, one JSON object per
line; writes `FOLDER/models.npz`, models from large to small. Ends when its standard input does, which is when its
parent does.
"""

import json
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

_SEED = 0
_NEIGHBOURS = 8
"""Each image is matched with so many that follow it, and beyond those with one at every power of two."""
_LOOKALIKES = 8
"""Each image is also matched with so many that look like it, wherever they are: what closes loops."""
_ALL_PAIRS_UP_TO = 40
"""So few images are all matched with each other."""
_WORDS = 64
"""Visual words of the descriptors that tell which images look alike."""
_FEATURES_MAX = 4096
_FEATURES_ENOUGH = 400
_PLACED_ENOUGH = 0.5
"""With fewer features in the median image, or a smaller share of images placed, all is done again with fine features,
sought between the pixels too: four times the work, for three times as many."""

_PINCUSHION_MAX = 0.15
"""Lenses of cameras bend lines outwards, k1 is below 0; much above it is a sign of cameras that stand wrong."""


def main(folder: Path) -> None:
    """Do what the request in a folder asks for."""
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    import pycolmap

    pycolmap.logging.minloglevel = pycolmap.logging.Level.ERROR.value
    pycolmap.set_random_seed(_SEED)
    request = json.loads((folder / "request.json").read_text(encoding="utf-8"))
    arrays = _attempt(pycolmap, folder, request, fine=False)
    # two rooms in one film make two models, which no feature will join: all of their images count here
    placed = {row for key, rows in arrays.items() if key.startswith("rows_") for row in rows.tolist()}
    if np.median(arrays["keypoints"]) < _FEATURES_ENOUGH or len(placed) < _PLACED_ENOUGH * len(request["names"]):
        again = _attempt(pycolmap, folder, request, fine=True)
        arrays = max(arrays, again, key=_placed)
    np.savez(folder / "models.npz", **arrays)


def _attempt(pycolmap: Any, folder: Path, request: dict[str, Any], *, fine: bool) -> dict[str, Any]:
    """All there is to say about the images, from coarse or fine features, as arrays by name."""
    names = request["names"]
    database, models_folder = folder / f"features-{fine:d}.db", folder / f"models-{fine:d}"
    models_folder.mkdir()
    _extract(pycolmap, database, folder, request, fine=fine)
    keypoints, kinds = _match(pycolmap, database, folder, request)
    models = _map(pycolmap, database, folder, models_folder, request)
    rows = {name: row for row, name in enumerate(names)}
    arrays: dict[str, Any] = {"keypoints": keypoints, "turned_only": np.array(kinds, np.int64)}
    for m, model in enumerate(models):
        arrays |= {f"{key}_{m}": value for key, value in _arrays(model, rows).items()}
    return arrays


def _placed(arrays: dict[str, Any]) -> tuple[bool, int]:
    """How good a result is: a lens that can be first, then many images."""
    return float(arrays.get("k1_0", 0)) <= _PINCUSHION_MAX, len(arrays.get("rows_0", ()))


def _end_with_the_parent() -> None:
    """Nobody ever writes to standard input: reading returns when the other end is gone."""
    os.read(sys.stdin.fileno(), 1)  # not through Python's buffer, whose lock would be held when the child ends
    os._exit(1)


def _say(stage: str, done: int, of: int) -> None:
    sys.stdout.write(json.dumps({"stage": stage, "done": done, "of": of}) + "\n")
    sys.stdout.flush()


def _extract(pycolmap: Any, database: Path, folder: Path, request: dict[str, Any], *, fine: bool) -> None:
    """SIFT features of all images, which share one camera."""
    names, camera = request["names"], request["camera"]
    reader = pycolmap.ImageReaderOptions()
    reader.camera_model = camera["model"]
    reader.camera_params = ", ".join(repr(value) for value in camera["parameters"])
    pycolmap.Database.open(database).close()
    # beforehand and in order: extraction would number the images as its threads finish, and pairs depend on numbers
    pycolmap.import_images(database, folder, pycolmap.CameraMode.SINGLE, names, reader)
    with pycolmap.Database.open(database) as opened:
        (stored,) = opened.read_all_cameras()
        stored.has_prior_focal_length = camera["known"]
        opened.update_camera(stored)
    options = pycolmap.FeatureExtractionOptions()
    options.num_threads = request["threads"]
    options.use_gpu = False
    options.sift.first_octave = -1 if fine else 0
    options.sift.max_num_features = _FEATURES_MAX
    _say("features", 0, len(names))
    for part in _parts(len(names), 8):
        pycolmap.extract_features(
            database,
            folder,
            names[part.start : part.stop],
            camera_mode=pycolmap.CameraMode.SINGLE,
            reader_options=reader,
            extraction_options=options,
            device=pycolmap.Device.cpu,
        )
        _say("features", part.stop, len(names))


def _match(pycolmap: Any, database: Path, folder: Path, request: dict[str, Any]) -> tuple[np.ndarray, list[int]]:
    """Verified matches of the pairs that may overlap.

    Returns:
        (n,) int64 features of each image; of the verified pairs, how many only turn or see a plane, and how many
        there are.
    """
    names = request["names"]
    with pycolmap.Database.open(database) as opened:
        ids = {image.name: image.image_id for image in opened.read_all_images()}
        descriptors = [opened.read_descriptors(ids[name]).data for name in names]
    pairs = image_pairs(descriptors)
    matching = pycolmap.FeatureMatchingOptions()
    # with two, one run in a hundred finds other matches, from the same features of the same pairs
    matching.num_threads = 1
    matching.use_gpu = False
    verification = pycolmap.TwoViewGeometryOptions()
    verification.ransac.random_seed = _SEED
    pairing = pycolmap.ImportedPairingOptions()
    pairing.match_list_path = folder / "pairs.txt"
    _say("pairs", 0, len(pairs))
    for part in _parts(len(pairs), 100):
        lines = [f"{names[a]} {names[b]}\n" for a, b in pairs[part.start : part.stop]]
        (folder / "pairs.txt").write_text("".join(lines), encoding="utf-8")
        pycolmap.match_image_pairs(database, matching, pairing, verification, pycolmap.Device.cpu)
        _say("pairs", part.stop, len(pairs))
    with pycolmap.Database.open(database) as opened:
        _, geometries = opened.read_two_view_geometries()
    kind = pycolmap.TwoViewGeometryConfiguration
    found = [g.config for g in geometries if g.config not in (kind.UNDEFINED, kind.DEGENERATE)]
    turned = [k for k in found if k in (kind.PANORAMIC, kind.PLANAR_OR_PANORAMIC)]
    return np.array([len(d) for d in descriptors], np.int64), [len(turned), len(found)]


def image_pairs(descriptors: list[np.ndarray]) -> list[tuple[int, int]]:
    """Which images to match: neighbours in time, ever larger steps, and images that look alike.

    COLMAP's own loop closure wants a vocabulary that must be downloaded; VLAD descriptors (Jegou et al., "Aggregating
    local descriptors into a compact image representation", CVPR 2010) with words from the very images need none.

    Args:
        descriptors: of each image, (k, 128) uint8.

    Returns:
        Pairs (a, b), a < b, in ascending order.
    """
    count = len(descriptors)
    if count <= _ALL_PAIRS_UP_TO:
        return [(a, b) for a in range(count) for b in range(a + 1, count)]
    steps = [*range(1, _NEIGHBOURS + 1)]
    while steps[-1] < count:
        steps.append(2 ** steps[-1].bit_length())
    pairs = {(a, a + step) for step in steps for a in range(count - step)}
    vectors = _vlad(descriptors)
    likeness = vectors @ vectors.T
    near = np.abs(np.subtract.outer(np.arange(count), np.arange(count))) <= _NEIGHBOURS
    likeness[near] = -np.inf
    for a, row in enumerate(likeness):
        alike = np.argsort(-row, kind="stable")[:_LOOKALIKES]
        pairs |= {(min(a, b), max(a, b)) for b in alike.tolist() if np.isfinite(row[b])}
    return sorted(pairs)


def _vlad(descriptors: list[np.ndarray]) -> np.ndarray:
    """(n, words * 128) float32 of length 1: what each image looks like as a whole; 0 for one without features."""
    random = np.random.default_rng(_SEED)
    sample = np.concatenate([d[random.permutation(len(d))[:100]] for d in descriptors]).astype(np.float32)
    if len(sample) < _WORDS:
        return np.zeros((len(descriptors), 1), np.float32)
    words = sample[random.permutation(len(sample))[:_WORDS]]
    for _ in range(5):
        word = _nearest(sample, words)
        sums = np.zeros_like(words)
        np.add.at(sums, word, sample)
        words = sums / np.maximum(np.bincount(word, minlength=_WORDS), 1)[:, None]
    vectors = np.zeros((len(descriptors), *words.shape), np.float32)
    for row, stored in enumerate(descriptors):
        own = stored.astype(np.float32)
        word = _nearest(own, words)
        np.add.at(vectors[row], word, own - words[word])
    # every word weighs the same, or the texture that fills an image would speak for it
    vectors /= np.maximum(np.linalg.norm(vectors, axis=2, keepdims=True), 1e-9)
    vectors = vectors.reshape(len(descriptors), -1)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)


def _nearest(descriptors: np.ndarray, words: np.ndarray) -> np.ndarray:
    """(k,) int: the word nearest to each descriptor."""
    return ((words**2).sum(axis=1) - 2 * descriptors @ words.T).argmin(axis=1)


def _map(pycolmap: Any, database: Path, folder: Path, out: Path, request: dict[str, Any]) -> list[Any]:
    """The models that the matches give, from large to small."""
    count, known = len(request["names"]), request["camera"]["known"]
    _say("cameras", 0, count)
    if request["mapper"] == "global":
        models = _map_globally(pycolmap, database, folder, out, known)
    else:
        models = _map_incrementally(pycolmap, database, folder, out, count, known)
    rechecked = [_rechecked(pycolmap, model, database, request["names"], known) for model in models.values()]
    _say("cameras", count, count)
    return sorted(rechecked, key=lambda model: -model.num_reg_images())


def _map_incrementally(
    pycolmap: Any, database: Path, folder: Path, out: Path, count: int, known: bool
) -> dict[int, Any]:
    options = pycolmap.IncrementalPipelineOptions()
    options.extract_colors = False
    options.num_threads = options.mapper.num_threads = 1  # sums over several threads differ from run to run
    options.random_seed = options.mapper.random_seed = options.triangulation.random_seed = _SEED
    options.ba_refine_focal_length = options.ba_refine_extra_params = not known
    options.mapper.abs_pose_refine_focal_length = options.mapper.abs_pose_refine_extra_params = not known
    options.min_model_size = min(options.min_model_size, max(count // 2, 3))
    steps = iter(range(1, count))

    def placed_another() -> None:
        _say("cameras", next(steps, count - 1), count)

    return pycolmap.incremental_mapping(database, folder, out, options, next_image_callback=placed_another)


def _rechecked(pycolmap: Any, model: Any, database: Path, names: list[str], known: bool) -> Any:
    """The model without what it placed wrongly, see `bev.sfm_recheck`."""
    from bev.sfm_recheck import without_misplaced

    with pycolmap.Database.open(database) as opened:
        ids, geometries = opened.read_two_view_geometries()
    pairs = [pycolmap.pair_id_to_image_pair(pair) for pair in ids]
    matches = [(a, b, g.inlier_matches) for (a, b), g in zip(pairs, geometries, strict=True) if len(g.inlier_matches)]
    options = pycolmap.BundleAdjustmentOptions()
    options.print_summary = False
    options.refine_focal_length = options.refine_extra_params = not known
    rows = {name: row for row, name in enumerate(names)}
    order = sorted(model.reg_image_ids(), key=lambda image_id: rows[model.images[image_id].name])
    return without_misplaced(model, order, matches, lambda each: pycolmap.bundle_adjustment(each, options))


def _map_globally(pycolmap: Any, database: Path, folder: Path, out: Path, known: bool) -> dict[int, Any]:
    if not known:
        calibration = pycolmap.ViewGraphCalibrationOptions()
        pycolmap.calibrate_view_graph(database, calibration)
    options = pycolmap.GlobalPipelineOptions()
    options.num_threads = options.mapper.num_threads = 1
    options.random_seed = options.mapper.random_seed = _SEED
    options.mapper.bundle_adjustment.refine_focal_length = not known
    options.mapper.bundle_adjustment.refine_extra_params = not known
    return pycolmap.global_mapping(database, folder, out, options)


def _arrays(model: Any, rows: dict[str, int]) -> dict[str, np.ndarray]:
    """A model as arrays; images in the order of the request."""
    images = sorted((image for image in model.images.values() if image.has_pose), key=lambda image: rows[image.name])
    point_rows = {point_id: row for row, point_id in enumerate(sorted(model.points3D))}
    seen = [
        (rows[image.name], point_rows[feature.point3D_id])
        for image in images
        for feature in image.points2D
        if feature.has_point3D()
    ]
    (camera,) = model.cameras.values()
    return {
        "rows": np.array([rows[image.name] for image in images], np.int64),
        "camera_from_world": np.array([image.cam_from_world().matrix() for image in images]).reshape(-1, 3, 4),
        "points": np.array([model.points3D[i].xyz for i in sorted(model.points3D)]).reshape(-1, 3),
        "seen": np.unique(np.array(seen, np.int64).reshape(-1, 2), axis=0),
        "K": np.array(camera.calibration_matrix()),
        "k1": np.array(camera.params[3] if camera.model.name == "SIMPLE_RADIAL" else 0.0),
        "error_px": np.array(model.compute_mean_reprojection_error()),
    }


def _parts(count: int, size: int) -> Iterator[range]:
    return (range(start, min(start + size, count)) for start in range(0, count, size))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
