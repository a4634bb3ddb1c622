"""Writes every raw form as its publishers do, and says what an import must find in it."""

import csv
import hashlib
import pickle
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

Pictures = dict[str, list[np.ndarray]]  # by class, (84, 84, 3) uint8
SIZE = 84
MINI = {"base": 64, "validation": 16, "novel": 20}
SHORT = {"base": "train", "validation": "val", "novel": "test"}


@dataclass
class Written:
    """What was written: examples of each class as the table must hold them, its part, and what the import must be told."""

    raw: Path
    classes: dict[str, list[np.ndarray]]
    parts: dict[str, list[str]] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)


def stock(real: Path | None, seed: int = 0) -> Callable[[int, int], list[list[np.ndarray]]]:
    """Pictures to write, never one twice: real ones below ``real``, or generated ones."""
    rng = np.random.default_rng(seed)
    if real is None:
        return lambda classes, each: [
            [rng.integers(0, 256, size=(SIZE, SIZE, 3)).astype(np.uint8) for _ in range(each)] for _ in range(classes)
        ]
    folders = iter([*sorted((real / "tiny_imagenet_sample").iterdir()), *sorted((real / "dermnet").iterdir())])
    seen: set[bytes] = set()

    def take(classes: int, each: int) -> list[list[np.ndarray]]:
        found: list[list[np.ndarray]] = []
        while len(found) < classes:
            pictures = []
            for path in sorted(next(folders).iterdir()):
                picture = np.asarray(Image.open(path).convert("RGB").resize((SIZE, SIZE), Image.Resampling.LANCZOS))
                digest = hashlib.sha256(picture.tobytes()).digest()
                if len(pictures) < each and digest not in seen:
                    seen.add(digest)
                    pictures.append(picture)
            if len(pictures) == each:
                found.append(pictures)
        return found

    return take


def in_table(pictures: list[np.ndarray]) -> list[np.ndarray]:
    return [picture.transpose(2, 0, 1) for picture in pictures]


def save(pictures: list[np.ndarray], folder: Path, name: Callable[[int], str] = "{:03d}.png".format) -> list[str]:
    folder.mkdir(parents=True, exist_ok=True)
    names = [name(index) for index in range(len(pictures))]
    for picture, file in zip(pictures, names, strict=True):
        Image.fromarray(picture).save(folder / file)
    return names


def dump(value: Any, path: Path, protocol: int = pickle.HIGHEST_PROTOCOL) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        pickle.dump(value, file, protocol=protocol)


def write_csv(path: Path, header: list[str], rows: list[list[Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])


def mini(take, each=3):
    """Pictures of 64, 16 and 20 classes with WordNet-like names, by part."""
    names = iter(f"n{10_000_000 + 37 * index % 1000 * 1000 + index}" for index in range(sum(MINI.values())))
    return {part: {next(names): pictures for pictures in take(number, each)} for part, number in MINI.items()}


def array_pickles(folder, take):
    data = mini(take)
    for part, classes in data.items():
        array = np.stack([np.stack(pictures) for pictures in classes.values()])
        dump(array, folder / f"mini_imagenet_{SHORT[part]}.pkl", protocol=4)
    named = {
        part: {f"{SHORT[part]} {place:02d}": pictures for place, pictures in enumerate(classes.values())}
        for part, classes in data.items()
    }
    return _mini_written(folder, named)


def _mini_written(folder, data, **settings):
    classes = {name: in_table(pictures) for part in data.values() for name, pictures in part.items()}
    return Written(folder, classes, {part: sorted(names) for part, names in data.items()}, settings)


def cache_pickles(folder, take):
    data = mini(take)
    rng = np.random.default_rng(0)
    for part, classes in data.items():
        every = [(name, picture) for name, pictures in classes.items() for picture in pictures]
        order = rng.permutation(len(every))  # rows of a class need not be neighbours
        pictures = np.stack([every[index][1] for index in order])
        rows = {name: [row for row, index in enumerate(order) if every[index][0] == name] for name in classes}
        for name in classes:
            classes[name] = [pictures[row] for row in rows[name]]
        dump(
            {"image_data": pictures, "class_dict": rows}, folder / f"mini-imagenet-cache-{SHORT[part]}.pkl", protocol=2
        )
    return _mini_written(folder, data)


def csv_lists(folder, take):
    data = mini(take)
    for part, classes in data.items():
        rows = []
        for name, pictures in classes.items():
            files = save(pictures, folder / "images", lambda index, name=name: f"{name}{index:08d}.png")
            rows += [[file, name] for file in files]
        write_csv(folder / f"{SHORT[part]}.csv", ["filename", "label"], rows)
    return _mini_written(folder, data)


def split_folders(folder, take):
    data = mini(take)
    for part, classes in data.items():
        for name, pictures in classes.items():
            save(pictures, folder / SHORT[part] / name)
    return _mini_written(folder, data)


ISIC = {"NV": 12, "MEL": 10, "BKL": 9, "BCC": 8, "AKIEC": 5, "VASC": 4, "DF": 3}


def isic(take):
    """Pictures of the seven diagnoses, and lesions of two pictures each."""
    classes = {name: take(1, number)[0] for name, number in ISIC.items()}
    numbers = {}
    for name, pictures in classes.items():
        for index in range(len(pictures)):
            numbers[name, index] = len(numbers) + 24306
    return classes, numbers, {key: f"HAM_{key[0]}_{key[1] // 2}" for key in numbers}


def isic_challenge(folder, take):
    classes, numbers, lesions = isic(take)
    order = ["MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC"]
    rows = []
    for name, pictures in classes.items():
        save(
            pictures,
            folder / "ISIC2018_Task3_Training_Input",
            lambda index, name=name: f"ISIC_{numbers[name, index]:07d}.png",
        )
        for index in range(len(pictures)):
            rows.append([f"ISIC_{numbers[name, index]:07d}", *(float(name == other) for other in order)])
    (folder / "ISIC2018_Task3_Training_Input" / "LICENSE.txt").write_text("CC-BY-NC")
    truth = "ISIC2018_Task3_Training_GroundTruth"
    write_csv(folder / truth / f"{truth}.csv", ["image", *order], rows)
    groups = [[f"ISIC_{numbers[key]:07d}", lesion, "histopathology"] for key, lesion in lesions.items()]
    write_csv(
        folder / "ISIC2018_Task3_Training_LesionGroupings.csv", ["image", "lesion_id", "diagnosis_confirm_type"], groups
    )
    return Written(folder, {name: in_table(pictures) for name, pictures in classes.items()})


def ham10000(folder, take):
    classes, numbers, lesions = isic(take)
    rows = []
    for name, pictures in classes.items():
        for index, picture in enumerate(pictures):
            file = f"ISIC_{numbers[name, index]:07d}"
            save([picture], folder / f"HAM10000_images_part_{1 + index % 2}", lambda _, file=file: f"{file}.png")
            rows.append([lesions[name, index], file, name.lower(), "histo", 50.0, "male", "back"])
    header = ["lesion_id", "image_id", "dx", "dx_type", "age", "sex", "localization"]
    write_csv(folder / "HAM10000_metadata.csv", header, rows)
    in_order = {name: in_table(pictures) for name, pictures in classes.items()}
    return Written(folder, in_order)


def class_pickles(folder, take):
    """``Dermnet_all_84.pkl``; the pair of ISIC is written by :func:`isic_pickles`."""
    classes = {f"disease {index:03d}": pictures for index, pictures in enumerate(take(12, 5))}
    dump({name: np.stack(pictures) for name, pictures in classes.items()}, folder / "Dermnet_all_84.pkl")
    return Written(folder, {name: in_table(pictures) for name, pictures in classes.items()})


def isic_pickles(folder, take):
    classes, _, _ = isic(take)
    for file, names in (("ISIC_train", list(ISIC)[:4]), ("ISIC_test", list(ISIC)[4:])):
        dump({name: np.stack(classes[name]) for name in names}, folder / f"{file}.pkl", protocol=3)
    return Written(folder, {name: in_table(pictures) for name, pictures in classes.items()})


def super_classes(folder, take):
    stems = ["acne-cystic", "acne-open-comedo", "rosacea-nose", "eczema hand", "tinea_corporis", "07rosaceak"]
    classes = dict(zip(stems, take(len(stems), 4), strict=True))
    supers = ["Acne and Rosacea Photos", "Eczema Photos"]
    for number, (stem, pictures) in enumerate(classes.items()):
        for index, picture in enumerate(pictures):
            name = f"{stem.title()}{'' if stem[0] == '0' else '-'}{index + 1:02d}.png"
            save([picture], folder / ("train", "test")[index % 2] / supers[number % 2], lambda _, name=name: name)
    in_order = {stem: [*pictures[::2], *pictures[1::2]] for stem, pictures in classes.items()}  # train first
    return Written(folder, {stem: in_table(pictures) for stem, pictures in in_order.items()})


def folder(folder, take):
    classes = {f"class {index}": pictures for index, pictures in enumerate(take(6, 4))}
    for name, pictures in classes.items():
        save(pictures, folder / name)
    return Written(folder, {name: in_table(pictures) for name, pictures in classes.items()})


def npz(folder, take):
    classes = {f"kind {index}": pictures for index, pictures in enumerate(take(6, 4))}
    pictures = np.concatenate([np.stack(found) for found in classes.values()])
    labels = np.repeat(list(classes), 4)
    order = np.random.default_rng(0).permutation(len(labels))
    folder.mkdir(parents=True)
    np.savez_compressed(folder / "mine.npz", examples=pictures[order], labels=labels[order])
    in_order = {
        name: [picture for picture, label in zip(pictures[order], labels[order], strict=True) if label == name]
        for name in classes
    }
    return Written(folder / "mine.npz", {name: in_table(found) for name, found in in_order.items()})


def h5ad(folder, take):
    """Values that are taken as they are; the preparation of counts has tests of its own."""
    import anndata
    import pandas

    rng = np.random.default_rng(0)
    values = rng.normal(size=(24, 7)).astype(np.float32)
    labels = np.repeat([f"type {index}" for index in range(6)], 4)
    observed = pandas.DataFrame({"cell type": labels}, index=[f"cell {index}" for index in range(24)])
    folder.mkdir(parents=True)
    anndata.AnnData(values, obs=observed).write_h5ad(folder / "cells.h5ad")
    classes = {name: list(values[labels == name]) for name in np.unique(labels)}
    settings = {"label_column": "cell type", "preparation": "none"}
    return Written(folder, {str(name): found for name, found in classes.items()}, settings=settings)


WRITERS = {
    "array-pickles": array_pickles, "cache-pickles": cache_pickles, "class-pickles": class_pickles, "csv-lists": csv_lists,
    "isic-challenge": isic_challenge, "ham10000": ham10000, "npz": npz, "h5ad": h5ad, "split-folders": split_folders,
    "super-classes": super_classes, "folder": folder,
}  # fmt: skip
