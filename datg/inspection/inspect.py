"""Everything that ``launchers/inspect_data.py`` shows of a data set."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from datg.data.catalog import Dataset
from datg.data.class_table import ClassTable
from datg.data.import_settings import PARTS
from datg.errors import ConfigError
from datg.generation.clustering import Clusters, cluster_classes, raw_features
from datg.inspection.diversity import Diversity, Spread, describe_diversity, describe_spread, measure
from datg.inspection.generated_tasks import generate_tasks
from datg.inspection.pictures import contact_sheets, projection, task_sheet
from datg.runtime.random_streams import derive_seed
from datg.storage.files import write_json
from datg.trial.folder import CLUSTERS


@dataclass(frozen=True)
class Inspection:
    """Hold what was found and drawn.

    Attributes:
        sizes: by part, examples of each class.
        clusters: of the base classes by their raw features, as ``datg`` clusters them with evaluation.seed 0.
        remarks: on the split.
        spread: of meta-batches drawn from all classes and by clusters, at the input.
        diversity: of tasks of each kind, at the input.
    """

    sizes: dict[str, dict[str, int]]
    clusters: Clusters
    files: list[Path]
    remarks: list[str]
    spread: Spread
    diversity: list[Diversity]

    def lines(self) -> list[str]:
        """Return what a terminal shows."""
        lines = []
        for part, sizes in self.sizes.items():
            lines.append(f"{part}: {len(sizes)} classes, {sum(sizes.values())} examples")
            lines += [f"  {count:6} {name}" for name, count in sizes.items()]
        lines.append(f"{self.clusters.number} clusters of the base classes:")
        for members, indices in zip(self.clusters.describe()["clusters"], self.clusters.borrowed, strict=True):
            borrowed = ", ".join(self.clusters.names[index] for index in indices)
            lines.append(f"  {', '.join(members)}" + (f" (borrows {borrowed})" if borrowed else ""))
        lines += [describe_spread(self.spread), *map(describe_diversity, self.diversity)]
        lines += [f"note: {remark}" for remark in self.remarks]
        return [*lines, *map(str, self.files)]

    def values(self) -> dict[str, Any]:
        """Return what a program reads."""
        return {
            "sizes": self.sizes,
            **self.clusters.describe(),
            "files": [str(path) for path in self.files],
            "remarks": self.remarks,
            "spread": asdict(self.spread),
            "diversity": [asdict(entry) for entry in self.diversity],
        }


def inspect(
    dataset: Dataset, out: Path, *, ways: int, clusters: int, examples: int, tasks: int, seed: int
) -> Inspection:
    """Return counts, clusters and draws.

    Args:
        dataset: imported or built in.
        out: folder for pictures and ``clusters.json``.
        ways: N of the generated tasks.
        clusters: k.
        examples: of each class on a contact sheet.
        tasks: generated tasks to draw.
        seed: of the generated tasks.

    Raises:
        ConfigError: there are too few base classes for the tasks or the clusters.
    """
    parts = {part: dataset.part(part) for part in PARTS}
    base = parts["base"]
    if ways > len(base):
        raise ConfigError(
            f"`--ways` must be at most {len(base)}, the number of base classes of {dataset.name}, got {ways}."
        )
    if clusters > len(base):
        raise ConfigError(
            f"`--clusters` must be at most {len(base)}, the number of base classes of {dataset.name}, got {clusters}."
        )
    # As a trial with evaluation.seed 0 clusters; where clusters would be too small for a task they borrow classes.
    smallest = max(1, min(ways, len(base) // clusters))
    grouped = cluster_classes(
        base.names,
        raw_features(base),
        clusters=clusters,
        ways=ways,
        source="raw",
        seed=derive_seed(0, "clusters"),
        smallest=smallest,
    )
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / CLUSTERS, grouped.describe())
    files = [out / CLUSTERS, *_draw(parts, grouped, out, ways=ways, examples=examples, tasks=tasks, seed=seed)]
    spread, diversity = measure(base, grouped, ways=smallest, seed=seed)
    sizes = {part: table.sizes for part, table in parts.items()}
    return Inspection(sizes, grouped, files, dataset.split.remarks, spread, diversity)


def _draw(
    parts: dict[str, ClassTable], clusters: Clusters, out: Path, *, ways: int, examples: int, tasks: int, seed: int
) -> list[Path]:
    generated = generate_tasks(parts["base"], clusters, ways=ways, number=tasks, seed=seed)
    if len(parts["base"].shape) != 3:
        projection(parts, generated, out / "projection.png")
        return [out / "projection.png"]
    sheets = [path for part, table in parts.items() for path in contact_sheets(table, out, part, examples=examples)]
    task_sheet(generated, out / "tasks.png")
    return [*sheets, out / "tasks.png"]
