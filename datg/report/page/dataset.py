"""What a report shows of the data: sizes, classes, clusters, pictures; as far as the data set is there."""

import base64
import io
import json
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

from datg.data.catalog import Dataset, data_root
from datg.data.class_table import ClassTable
from datg.data.import_settings import PARTS
from datg.errors import DatgError
from datg.generation.clustering import Clusters, read_clusters
from datg.inspection.diversity import Embed, describe_spread, measure
from datg.inspection.generated_tasks import generate_tasks
from datg.inspection.pictures import contact_sheets, projection, task_sheet
from datg.learners.prediction import embed_examples
from datg.report.page.page import Block, Picture, Table, Text
from datg.search.settings import SearchSettings
from datg.trial.data import open_data
from datg.trial.folder import BEST, CLUSTERS
from datg.trial.model import load_best
from datg.trial.records import TrialRecord

EXAMPLES, TASKS, MOST_CLASSES = 8, 2, 40  # of a class; generated; on a contact sheet of a report


def data_blocks(settings: SearchSettings, best: TrialRecord | None) -> list[Block]:
    """Return what is known of the data of a search, and what can be drawn of them."""
    split = settings.provenance["split"]
    dataset, _ = _opened(settings)
    sizes = {part: dataset.part(part).sizes if dataset else {} for part in PARTS}
    other = settings.provenance.get("tested on")
    names = {part: (other["split"] if other and part == "novel" else split)[part] for part in PARTS}
    rows = [
        [part, str(len(names[part])), str(sum(sizes[part].values()) or ""), ", ".join(names[part])] for part in PARTS
    ]
    config, fingerprint = settings.config, settings.provenance["fingerprint"]
    blocks: list[Block] = [
        Text([f"{config.dataset}, split by the protocol {split['protocol']}, fingerprint {fingerprint[:16]}."]),
        Table(["part", "classes", "examples", "names"], rows),
    ]
    if other:
        blocks.append(
            Text([f"Novel classes are those of {other['dataset']}, fingerprint {other['fingerprint'][:16]}."])
        )
    clusters = _clusters(best)
    if clusters is not None and best is not None:
        members = [[str(number), ", ".join(names)] for number, names in enumerate(clusters["clusters"])]
        blocks.append(Text([f"Clusters of the base classes in trial {best.number}, by {clusters['features']}:"]))
        blocks.append(Table(["cluster", "classes"], members))
    return blocks


def picture_blocks(settings: SearchSettings, best: TrialRecord | None) -> list[Block]:
    """Return contact sheets and generated tasks, or why there are none."""
    dataset, why_not = _opened(settings)
    if dataset is None:
        return [Text([why_not], "warning")]
    return [*_pictures(dataset, settings, best if _clusters(best) is not None else None)]


def diversity_blocks(settings: SearchSettings, best: TrialRecord | None) -> list[Block]:
    """Return what the clusters of the best trial do for tasks, at the input and in the embedding that it learned."""
    dataset, _ = _opened(settings)
    if dataset is None or best is None or _clusters(best) is None:
        return []
    base, ways = dataset.part("base"), settings.config.task.ways
    clusters = _read_clusters(best, dataset, ways)
    places: list[tuple[str, Embed]] = [("at the input", lambda examples: examples.flatten(1))]
    if (best.folder / BEST).exists():
        backbone = load_best(best.folder / BEST).learner.backbone
        places.append(("in the embedding of the best trial", partial(embed_examples, backbone)))
    blocks: list[Block] = []
    for place, embed in places:
        spread, found = measure(base, clusters, ways=ways, seed=0, embed=embed)
        rows = [[row.kind, f"{row.distance:.3g}", f"{row.rank:.1f}", f"{row.mmd:.3g}"] for row in found]
        blocks.append(Text([f"{place[0].upper()}{place[1:]}: {describe_spread(spread)}."]))
        blocks.append(Table([f"tasks, {place}", "mean distance", "effective rank", "MMD to real tasks"], rows))
    return blocks


def _opened(settings: SearchSettings) -> tuple[Dataset | None, str]:
    """Return the data set, if it is there and still the one of the search; else why not."""
    try:
        dataset = open_data(settings.config, data_root(saved=settings.data_root))
    except DatgError as error:
        return None, f"no picture of the data, which is not where the search found it: {str(error).splitlines()[0]}"
    if dataset.table.fingerprint != settings.provenance["fingerprint"]:
        return None, f"no picture of the data: {settings.config.dataset} in {settings.data_root} holds others now."
    return dataset, ""


def _clusters(best: TrialRecord | None) -> dict[str, Any] | None:
    path = best.folder / CLUSTERS if best is not None else None
    return json.loads(path.read_text(encoding="utf-8")) if path is not None and path.exists() else None


def _read_clusters(best: TrialRecord, dataset: Dataset, ways: int) -> Clusters:
    path = best.folder / CLUSTERS
    number = len(json.loads(path.read_text(encoding="utf-8"))["clusters"])
    return read_clusters(path, dataset.part("base").names, clusters=number, ways=ways)


def _pictures(dataset: Dataset, settings: SearchSettings, clustered: TrialRecord | None) -> list[Picture]:
    """Draw contact sheets, or a projection of cells; and tasks as the best trial's clusters generate them, mixed at the input."""
    parts = {part: dataset.part(part) for part in PARTS}
    generated, ways = [], settings.config.task.ways
    if clustered is not None:
        clusters = _read_clusters(clustered, dataset, ways)
        generated = generate_tasks(parts["base"], clusters, ways=ways, number=TASKS, seed=0)
    if len(parts["base"].shape) != 3:
        title = "Cells on the first two principal components of the base classes"
        return [_drawn(title, lambda path: projection(parts, generated, path))]
    pictures = []
    for part, table in parts.items():
        shown = min(len(table), MOST_CLASSES)
        title = f"{part} classes" if shown == len(table) else f"the first {shown} of {len(table)} {part} classes"
        pictures.append(_drawn(title, partial(_contact_sheet, table)))
    if generated:
        title = "Generated tasks: one example a class of T_i, of T_j, and their mixture at the input"
        pictures.append(_drawn(title, lambda path: task_sheet(generated, path)))
    return pictures


def _contact_sheet(table: ClassTable, path: Path) -> None:
    contact_sheets(table, path.parent, path.stem, examples=EXAMPLES, most=MOST_CLASSES)


def _drawn(title: str, draw: Callable[[Path], Any]) -> Picture:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "picture.png"
        draw(path)
        small = io.BytesIO()
        with Image.open(path, formats=["PNG"]) as picture:
            picture.convert("RGB").save(small, "WEBP", quality=80)
        return Picture(title, base64.b64encode(small.getvalue()).decode())
