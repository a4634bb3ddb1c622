"""Cells: the preparation against its written rules, tissues, and what can be wrong."""

import warnings

import numpy as np
import pytest
from scipy import sparse

from datg.data.importing import formats as importers
from datg.data.importing.formats.h5ad import read_like
from datg.data.preparation import Preparation
from datg.data.raw_data import RefusedExample, Workplace
from datg.errors import ConfigError, DataError

GENES, CELLS = 1200, 120
TISSUES = {"base": ["liver", "heart"], "validation": ["skin"], "novel": ["lung"]}
COLUMNS = {"label_column": "label", "group_column": "tissue"}


def counts_of(seed=0):
    """Counts with genes of very different means, programmes of four cell types, a few poor cells and rare genes."""
    rng = np.random.default_rng(seed)
    means = np.exp(rng.normal(1.0, 1.4, size=GENES))
    types = np.arange(CELLS) % 4
    programmes = np.where(rng.uniform(size=(4, GENES)) < 0.15, rng.uniform(2, 12, size=(4, GENES)), 1.0)
    counts = rng.negative_binomial(2, 2 / (2 + means * programmes[types])).astype(np.float32)
    counts[:, :20] = 0
    counts[:4, :20] = 1  # seen in four cells only
    counts[5] = np.where(np.arange(GENES) < 900, 1, 0)  # too few counts
    counts[6] = 0
    counts[6, 100:150] = 500  # too few genes
    return counts, types


def write(path, counts, *, layout="csr", **columns):
    import anndata
    import pandas

    values = {"csr": sparse.csr_matrix, "csc": sparse.csc_matrix, "dense": np.asarray}[layout](counts)
    names = [f"cell {index}" for index in range(len(counts))]
    path.parent.mkdir(parents=True, exist_ok=True)
    anndata.AnnData(values, obs=pandas.DataFrame(columns, index=names)).write_h5ad(path)
    return path


def standard(path, **options):
    counts, types = counts_of()
    labels = np.array(["B cell", "T cell", "hepatocyte", "nan"])[types]
    tissues = np.array(["liver", "heart", "skin", "lung"])[np.arange(CELLS) // 4 % 4]
    return write(path, counts, label=labels, tissue=tissues, **options), counts, labels, tissues


def prepared(counts, reference):
    """The rules of the preparation, one by one, in float64; which cells and genes are left."""
    cells, genes = np.arange(len(counts)), np.arange(counts.shape[1])
    x = counts.astype(np.float64)
    keep = (x > 0).sum(0) >= 5
    x, genes = x[:, keep], genes[keep]
    for rule in (lambda v: v.sum(1) >= 5000, lambda v: (v > 0).sum(1) >= 500):
        keep = rule(x)
        x, cells, reference = x[keep], cells[keep], reference[keep]
    x = x / x.sum(1, keepdims=True) * 1e4
    own = x[reference]
    mean, var = own.mean(0), own.var(0, ddof=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        dispersion, size = np.log(var / mean), np.log1p(mean)
    edges = np.linspace(size.min(), size.max(), 21)
    bins = np.clip(np.ceil((size - edges[0]) / (edges[1] - edges[0])).astype(int) - 1, 0, 19)
    score = np.zeros(len(size))
    for bin_ in np.unique(bins):
        inside = bins == bin_
        values = dispersion[inside]
        finite = values[np.isfinite(values)]
        if len(finite) == 1:
            score[inside] = 1.0
        else:
            score[inside] = (values - finite.mean()) / finite.std(ddof=1)
    score = np.nan_to_num(score, nan=0.0, neginf=0.0)
    chosen = (size > 0.0125) & (size < 10) & (score > 0.5)
    x, genes = np.log1p(x[:, chosen]), genes[chosen]
    own = x[reference]
    deviation = own.std(0, ddof=1)
    z = (x - own.mean(0)) / np.where(deviation > 0, deviation, 1.0)
    return cells, genes, np.clip(np.nan_to_num(z), -10, 10)


@pytest.mark.parametrize("layout", ["csr", "csc", "dense"])
@pytest.mark.parametrize("scale_on", ["all", "base"])
def test_the_preparation_follows_its_rules_in_their_order(layout, scale_on, tmp_path, bring_in):
    path, counts, labels, tissues = standard(tmp_path / "raw" / "cells.h5ad", layout=layout)
    dataset = bring_in(
        path.parent, **COLUMNS, protocol="groups", groups=TISSUES, scale_on=scale_on, expected_genes=2866
    )
    named = np.flatnonzero(labels != "nan")
    base = np.isin(tissues[named], TISSUES["base"])
    reference = base if scale_on == "base" else np.ones(len(named), dtype=bool)
    cells, genes, expected = prepared(counts[named], reference)
    assert dataset.table.shape == (len(genes),) and dataset.table.examples.dtype == np.float32
    part_of = {tissue: part for part, names in TISSUES.items() for tissue in names}
    kept = named[cells]
    for name, start, count in zip(dataset.table.names, dataset.table.starts, dataset.table.counts, strict=True):
        mine = [row for row, cell in enumerate(kept) if f"{labels[cell]} ({part_of[str(tissues[cell])]})" == name]
        assert len(mine) == count
        np.testing.assert_allclose(dataset.table.examples[start : start + count], expected[mine], atol=2e-3)
    remarks = " ".join(dataset.split.remarks)
    assert "30 cells without a label" in remarks and "2 of 90 labelled cells have too few counts" in remarks
    assert f"{len(genes)} genes were chosen with scanpy 1." in remarks and "2866 genes were expected" in remarks
    assert any("sparse they need" in said for said in bring_in.said) and "and so dense" in bring_in.said[-1]


def test_tissues_make_classes_of_the_same_cell_type_in_every_part(tmp_path, bring_in):
    path, *_ = standard(tmp_path / "cells.h5ad")
    dataset = bring_in(path, **COLUMNS, protocol="groups", groups=TISSUES)
    assert dataset.split.base == ["B cell (base)", "T cell (base)", "hepatocyte (base)"]
    assert dataset.split.novel == ["B cell (novel)", "T cell (novel)", "hepatocyte (novel)"]
    few = bring_in(path, **COLUMNS, protocol="groups", groups=TISSUES, min_examples=7)
    assert min(few.table.counts) >= 7


def altered(counts, row, column, value):
    counts = counts.copy()
    counts[row, column] = value
    return counts


@pytest.mark.parametrize(
    ("value", "settings", "message"),
    [
        (np.nan, {}, "1 values are NaN or infinite"),
        (-1.0, {}, "1 values are negative; give --preparation none"),
        (0.5, {}, "1 values are not whole; give --preparation none"),
        (np.inf, {"preparation": "none"}, "1 values are NaN or infinite"),
    ],
)
def test_values_that_are_no_counts_are_counted(value, settings, message, tmp_path, bring_in):
    counts, types = counts_of()
    path = write(tmp_path / "cells.h5ad", altered(counts, 3, 7, value), label=types.astype(str))
    with pytest.raises(DataError, match=message):
        bring_in(path, label_column="label", **settings)
    assert not any((tmp_path / "data").iterdir())


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({}, ConfigError, "needs --label-column, the column .* has: label, tissue"),
        ({"label_column": "type", "group_column": "organ"}, DataError, "lacks the columns type, organ; it has: label, tissue"),
        ({"label_column": "label", "scale_on": "base"}, ConfigError, "`--scale-on base` needs --protocol groups"),
        ({**COLUMNS, "protocol": "groups", "groups": {**TISSUES, "novel": ["tongue"]}}, DataError, "data lack: tongue"),
    ],
)  # fmt: skip
def test_settings_must_fit_the_file(settings, error, message, tmp_path, bring_in):
    path, *_ = standard(tmp_path / "cells.h5ad")
    with pytest.raises(error, match=message):
        bring_in(path, **settings)
    assert not any((tmp_path / "data").iterdir())


def test_cells_too_poor_for_any_gene_are_told(tmp_path, bring_in):
    path = write(tmp_path / "cells.h5ad", np.ones((12, 30), np.float32), label=["a", "b"] * 6)
    with pytest.raises(DataError, match="no cell has 5000 counts of 500 genes"):
        bring_in(path, label_column="label")


def test_a_truncated_file_and_two_files_are_told(tmp_path, bring_in):
    path, *_ = standard(tmp_path / "raw" / "cells.h5ad")
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(DataError, match="is no AnnData file, or is truncated or damaged"):
        bring_in(path, **COLUMNS)
    (path.parent / "more.h5ad").write_bytes(b"")
    with pytest.raises(DataError, match="must be an .h5ad file, or a folder with one"):
        bring_in(path.parent, form="h5ad", **COLUMNS)


def test_missing_packages_are_named_with_the_way_to_get_them(tmp_path, bring_in, monkeypatch):
    import sys

    path, *_ = standard(tmp_path / "cells.h5ad")
    monkeypatch.setitem(sys.modules, "anndata", None)
    with pytest.raises(ConfigError, match=r"pip install 'datg\[cells\]'"):
        importers.FORMATS["h5ad"].read(path, *[None] * 2)


def corrupted(path, act):
    import h5py

    with h5py.File(path, "r+") as file:
        act(file)
    return path


def put(name, place, value):
    def act(file):
        file[name][place] = value

    return act


def without_matrix(file):
    del file["X"]


def smaller_matrix(file):
    values = file["X"]["data"][:10].reshape(2, 5)
    del file["X"]
    file["X"] = values


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (put("X/indices", 0, 10**6), "values outside its 120 cells x 1200 genes"),
        (put("X/indices", 5, -5), "values outside its 120 cells x 1200 genes"),
        (put("X/indptr", 3, 10**6), "whose parts do not fit 120 cells x 1200 genes"),
        (without_matrix, "has no matrix X"),
        (smaller_matrix, r"must have a matrix X of numbers \(120, 1200\), got"),
    ],
)
def test_a_damaged_matrix_is_told_and_ends_nothing(act, message, tmp_path, bring_in):
    path, *_ = standard(tmp_path / "cells.h5ad")
    with pytest.raises(DataError, match=message):
        bring_in(corrupted(path, act), **COLUMNS)
    assert not any((tmp_path / "data").iterdir())


def test_counts_that_do_not_vary_and_base_groups_without_cells_are_told(tmp_path, bring_in):
    counts = np.full((40, 600), 10, np.float32)
    path = write(tmp_path / "same.h5ad", counts, label=["a", "b"] * 20, tissue=["liver"] * 38 + ["skin", "lung"])
    with pytest.raises(DataError, match="no gene varies more than others"):
        bring_in(path, **COLUMNS)
    groups = {"base": ["heart"], "validation": ["skin"], "novel": ["lung"]}
    with pytest.raises(DataError, match="fewer than 2 cells of the base groups"):
        bring_in(path, **COLUMNS, protocol="groups", groups=groups, scale_on="base")


def test_missing_labels_of_any_kind_are_no_class(tmp_path, bring_in):
    import pandas

    labels = pandas.array([1, 2, None, 3] * 6, dtype="Int64")
    path = write(tmp_path / "x.h5ad", np.random.default_rng(0).normal(size=(24, 5)).astype(np.float32), label=labels)
    sizes = {"base_classes": 1, "validation_classes": 1, "novel_classes": 1}
    dataset = bring_in(path, label_column="label", preparation="none", **sizes)
    assert dataset.table.names == ("1", "2", "3")


@pytest.fixture
def normalised(tmp_path):
    """A file as people save one: normalised values in X, counts in raw and in a layer."""
    import anndata

    path, counts, *_ = standard(tmp_path / "cells.h5ad")
    cells = anndata.read_h5ad(path)
    cells.raw = cells.copy()
    cells.layers["counts"] = cells.X.copy()
    cells.layers["scaled"] = sparse.csr_matrix(np.log1p(counts))
    cells.X = sparse.csr_matrix(np.log1p(counts))
    cells = cells[:, 10:].copy()  # raw keeps every gene
    cells.write_h5ad(path)
    return path


def test_whole_counts_elsewhere_in_the_file_are_named_and_can_be_chosen(normalised, bring_in):
    asked = {**COLUMNS, "protocol": "groups", "groups": TISSUES}
    with pytest.raises(DataError, match="are not whole; whole counts are in raw and layer:counts: give --counts raw"):
        bring_in(normalised, **asked)
    with pytest.raises(DataError, match="has no matrix layers/count; say with --counts"):
        bring_in(normalised, **asked, counts="layer:count")
    raw, layer = (bring_in(normalised, **asked, counts=where).table for where in ("raw", "layer:counts"))
    assert len(raw) == len(layer) == 9 and raw.shape[0] >= layer.shape[0] > 0
    with pytest.raises(ConfigError, match="counts"):
        bring_in(normalised, **asked, counts="layers")


def test_real_cells_that_are_no_counts_say_so(tmp_path, bring_in):
    scanpy = pytest.importorskip("scanpy")
    path = tmp_path / "pbmc.h5ad"
    scanpy.datasets.pbmc68k_reduced().write_h5ad(path)
    with pytest.raises(DataError, match="no matrix here holds whole numbers"):
        bring_in(path, label_column="bulk_labels", protocol="random")
    dataset = bring_in(path, label_column="bulk_labels", protocol="random", preparation="none")
    assert len(dataset.table) >= 6 and dataset.table.shape == (765,) and "CD34+" in dataset.table.names


def work_in(folder):
    return Workplace(folder, lambda text: None, lambda what, done, total: None)


def with_genes(path, counts, order):
    """The counts with their genes in another order, by their names."""
    import anndata
    import pandas

    names = pandas.DataFrame(index=[str(index) for index in order])
    anndata.AnnData(
        counts[:, order], obs=pandas.DataFrame(index=[f"new {i}" for i in range(len(counts))]), var=names
    ).write_h5ad(path)
    return path


@pytest.mark.parametrize("scale_on", ["all", "base"])
def test_new_counts_are_prepared_as_at_import_whatever_the_order_of_their_genes(scale_on, tmp_path, bring_in):
    path, counts, labels, tissues = standard(tmp_path / "raw" / "cells.h5ad")
    table = bring_in(path.parent, **COLUMNS, protocol="groups", groups=TISSUES, scale_on=scale_on).table
    known = Preparation.model_validate(table.preparation)
    assert Preparation.model_validate(known.to_dict()) == known and known.label_column == "label"
    named = np.flatnonzero(labels != "nan")
    reference = np.isin(tissues[named], TISSUES["base"]) if scale_on == "base" else np.ones(len(named), dtype=bool)
    cells, genes, expected = prepared(counts[named], reference)
    assert len(known.chosen) == len(genes)
    order = np.random.default_rng(1).permutation(GENES)
    for file, column in ((path, "label"), (with_genes(tmp_path / "new.h5ad", counts, order), None)):
        rows, found = read_like(file, known, column, work_in(tmp_path))
        assert (found is None) == (column is None) and (found is None or (found[3] == "" and found[0] == labels[0]))
        for place, cell in enumerate(named[cells]):
            np.testing.assert_allclose(rows[cell].read(), expected[place], atol=2e-3)
        for poor in (5, 6):
            with pytest.raises(RefusedExample, match="fewer than 5000 counts or 500 genes"):
                rows[poor].read()


def test_genes_that_are_missing_or_have_other_names_are_told(tmp_path, bring_in):
    path, counts, *_ = standard(tmp_path / "raw" / "cells.h5ad")
    known = Preparation.model_validate(
        bring_in(path.parent, **COLUMNS, protocol="groups", groups=TISSUES).table.preparation
    )
    without = [gene for gene in range(GENES) if str(gene) not in known.genes[:3]]
    for order, renamed, said in (
        (
            without,
            "{}",
            f"lacks 3 of the {len(known.genes)} genes of the model: {', '.join(known.genes[:3])}; add them",
        ),
        (
            range(GENES),
            "ENSG{:05}",
            f"none of the {len(known.genes)} genes .* calls them {known.genes[0]}, .* the file ENSG00000",
        ),
        ([*range(GENES), 30], "{}", "must name each gene once, but these stand twice: 30"),
    ):
        import anndata
        import pandas

        names = pandas.DataFrame(index=[renamed.format(index) for index in order])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that a name stands twice
            anndata.AnnData(counts[:, list(order)], var=names).write_h5ad(tmp_path / "new.h5ad")
        with pytest.raises(DataError, match=said):
            read_like(tmp_path / "new.h5ad", known, None, work_in(tmp_path))


def test_values_taken_as_they_are_need_the_same_genes(tmp_path, bring_in):
    path, counts, _, _ = standard(tmp_path / "raw" / "cells.h5ad")
    table = bring_in(path.parent, **COLUMNS, protocol="groups", groups=TISSUES, preparation="none").table
    known = Preparation.model_validate(table.preparation)
    assert known.chosen is None and len(known.genes) == GENES
    order = np.random.default_rng(1).permutation(GENES)
    rows, _ = read_like(with_genes(tmp_path / "new.h5ad", counts, order), known, None, work_in(tmp_path))
    np.testing.assert_array_equal(rows[7].read(), counts[7])
