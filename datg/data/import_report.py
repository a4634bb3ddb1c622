"""What an import found, in lines for its user."""

from datg.data.catalog import Dataset


def describe(dataset: Dataset) -> list[str]:
    """The report of an import, the sizes of its classes, its split and what to do next."""
    table, split = dataset.table, dataset.split
    report = table.description["report"]
    lines = [f"{'form':32} {table.description['importer']}"]
    lines += [f"{key:32} {len(value) if isinstance(value, dict) else value}" for key, value in report.items()]
    lines += [f"  refused {source}: {reason}" for source, reason in report["refused"].items()]
    lines += [f"  {number:4} classes with {low} to {high} examples" for low, high, number in table.size_histogram()]
    lines.append(
        f"split {split.protocol}: {len(split.base)} base, {len(split.validation)} validation, {len(split.novel)} novel classes"
    )
    lines += [f"note: {remark}" for remark in split.remarks]
    lines += [f"fingerprint {table.fingerprint}", f"next: python launchers/search.py --dataset {dataset.name}"]
    return lines
