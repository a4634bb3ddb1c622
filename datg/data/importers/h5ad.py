"""Cells in an AnnData file (``.h5ad``): raw counts that are normalised, reduced and scaled, or values taken as they are.

The preparation is that of the Tabula Muris benchmark, by scanpy's functions in its order, on all cells together: drop genes seen
in fewer than 5 cells, cells with fewer than 5,000 counts, cells with fewer than 500 genes; normalise each cell to 10,000; keep
genes of high dispersion; log1p; z-scores clipped at 10. Choosing genes and scaling so uses the (unlabelled) novel cells, too;
``scale_on: base`` does both on base cells alone (which genes and cells are seen often enough is still counted on all).

Needs the packages of ``datg[cells]``.
"""

import warnings
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from datg.data.import_settings import ImportSettings
from datg.data.importers.arrays import VectorRow
from datg.data.importers.h5ad_matrix import read_rows
from datg.data.importers.raw import RawData, Workplace, listed
from datg.errors import ConfigError, DataError

if TYPE_CHECKING:
    from anndata import AnnData

FORM = "AnnData .h5ad"
ABSENT_LABELS = ("nan", "NA", "")
CELLS_OF_A_GENE, COUNTS_OF_A_CELL, GENES_OF_A_CELL = 5, 5000, 500
COUNTS_A_CELL_AFTER = 1e4
DISPERSION = {"min_disp": 0.5, "min_mean": 0.0125, "max_mean": 10.0, "n_bins": 20}
LARGEST_SCORE = 10.0


def recognise(raw: Path) -> bool:
    """An ``.h5ad`` file, or a folder with one."""
    return _path(raw) is not None


def read(raw: Path, settings: ImportSettings, work: Workplace) -> RawData:
    """Reads labels, prepares the matrix, and makes one class of each label.

    Raises:
        ConfigError: the packages are missing, or settings do not fit each other.
        DataError: it is no such file, lacks columns, or its values are not what the preparation needs.
    """
    path = _path(raw)
    if path is None or not path.is_file():
        raise DataError(f"{raw} must be an .h5ad file, or a folder with one.")
    cells = _open(path)
    label, group = _columns(cells, path, settings)
    absent = cells.obs[label].isna().to_numpy()
    labels = cells.obs[label].astype(str).to_numpy()
    groups = np.full(len(labels), "") if group is None else cells.obs[group].astype(str).to_numpy()
    named = ~(absent | np.isin(labels, ABSENT_LABELS))
    if not named.any():
        raise DataError(f"{path} has no cell with a label in column {label}.")
    remarks = [] if named.all() else [f"{(~named).sum()} cells without a label in column {label} are left out."]
    base = _base_cells(groups, settings)
    counts = settings.preparation == "counts"
    matrix = _read_matrix(cells, path, named, counts=counts, work=work)
    names = cells.obs_names[named].astype(str).to_numpy()
    labels, groups = labels[named], groups[named]
    if counts:
        matrix, rows, said = _prepare(matrix, None if base is None else base[named], settings, work)
        names, labels, groups = names[rows], labels[rows], groups[rows]
        remarks += said
    else:
        work.say(f"dense, the values need {2 * 4 * matrix.shape[0] * matrix.shape[1] / 1e9:.1f} GB for a while.")
    dense = np.asarray(matrix.todense() if sparse.issparse(matrix) else matrix, dtype=np.float32)
    classes: dict[str, list[VectorRow]] = {str(name): [] for name in np.unique(labels)}
    for row, (name, class_, place) in enumerate(zip(names, labels, groups, strict=True)):
        classes[class_].append(VectorRow(dense, row, str(name), str(place)))
    return RawData(classes, shape=(dense.shape[1],), dtype="float32", remarks=tuple(remarks))


def _path(raw: Path) -> Path | None:
    if raw.is_dir():
        files = sorted(raw.glob("*.h5ad"))
        return files[0] if len(files) == 1 else None
    return raw if raw.suffix.lower() == ".h5ad" else None


def _open(path: Path) -> "AnnData":
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import anndata
    except ImportError as error:
        raise ConfigError(
            f"form h5ad needs packages that are not installed ({error.name}); pip install 'datg[cells]'"
        ) from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return anndata.read_h5ad(path, backed="r")
    except Exception as error:  # whatever a file that is none makes HDF5 raise
        raise DataError(f"{path} is no AnnData file, or is truncated or damaged ({str(error)[:200]}).") from error


def _columns(cells: "AnnData", path: Path, settings: ImportSettings) -> tuple[str, str | None]:
    have = listed([str(column) for column in cells.obs.columns], 40) or "none"
    if settings.label_column is None:
        raise ConfigError(
            f"form h5ad needs --label-column, the column that names the class of a cell; {path} has: {have}."
        )
    wanted = [name for name in (settings.label_column, settings.group_column) if name is not None]
    missing = [name for name in wanted if name not in cells.obs.columns]
    if missing:
        raise DataError(f"{path} lacks the columns {', '.join(missing)}; it has: {have}.")
    doubled = cells.obs_names[cells.obs_names.duplicated()].astype(str).tolist()
    if doubled:
        raise DataError(f"{path} must name each cell once, but these names stand twice: {listed(doubled)}.")
    return settings.label_column, settings.group_column


def _base_cells(groups: npt.NDArray[Any], settings: ImportSettings) -> npt.NDArray[np.bool_] | None:
    """`(cells,)` which cells genes are chosen and scaled on; None for all."""
    if settings.scale_on == "all":
        return None
    if settings.protocol != "groups" or settings.group_column is None:
        raise ConfigError(
            "`scale_on: base` needs protocol groups and a group column, which say which cells are base cells."
        )
    return np.isin(groups, settings.lists().get("base", []))


def _read_matrix(
    cells: "AnnData", path: Path, named: npt.NDArray[np.bool_], *, counts: bool, work: Workplace
) -> sparse.csr_matrix:
    """The rows of labelled cells, sparse whatever the file holds, checked as they come.

    Raises:
        DataError: values are not finite, or are no counts where counts are wanted.
    """
    parts: list[sparse.csr_matrix] = []
    wrong = {"are NaN or infinite": 0, "are negative": 0, "are no whole numbers": 0}
    for chunk, start, stop in read_rows(path, (cells.n_obs, cells.n_vars)):
        values = chunk.data
        wrong["are NaN or infinite"] += int((~np.isfinite(values)).sum())
        if counts:
            wrong["are negative"] += int((values < 0).sum())
            wrong["are no whole numbers"] += int((values != np.floor(values)).sum())
        parts.append(chunk[named[start:stop]])
        if start == 0:
            share = chunk.nnz / max(stop, 1) * cells.n_obs
            work.say(
                f"{path.name}: {cells.n_obs} cells x {cells.n_vars} genes; sparse it needs about {16 * share / 1e9:.1f} GB."
            )
        work.progress("reading cells", stop, cells.n_obs)
    problems = [f"{number} values {what}" for what, number in wrong.items() if number]
    if problems:
        hint = "; give --preparation none if they are not raw counts" if counts else ""
        raise DataError(f"{path} cannot be used: {', '.join(problems)}{hint}.")
    return sparse.vstack(parts, format="csr", dtype=np.float32)


def _prepare(
    matrix: sparse.csr_matrix, base: npt.NDArray[np.bool_] | None, settings: ImportSettings, work: Workplace
) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64], list[str]]:
    """The benchmark's preparation; returns the scores `(cells, genes)`, which rows are left, and remarks."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scanpy's deprecations and those of its dependencies
        import anndata
        import scanpy

        rows = np.arange(matrix.shape[0])
        cells = anndata.AnnData(matrix)
        scanpy.pp.filter_genes(cells, min_cells=CELLS_OF_A_GENE)
        for rule in ({"min_counts": COUNTS_OF_A_CELL}, {"min_genes": GENES_OF_A_CELL}):
            kept, _ = scanpy.pp.filter_cells(cells, **rule, inplace=False)
            cells, rows = cells[kept].copy(), rows[kept]
        if cells.n_obs == 0 or cells.n_vars == 0:
            raise DataError(
                f"no cell has {COUNTS_OF_A_CELL} counts of {GENES_OF_A_CELL} genes seen in {CELLS_OF_A_GENE} cells; give "
                "--preparation none if the values are not raw counts."
            )
        scanpy.pp.normalize_total(cells, target_sum=COUNTS_A_CELL_AFTER)
        reference = np.ones(cells.n_obs, dtype=bool) if base is None else base[rows]
        if reference.sum() < 2:
            raise DataError("fewer than 2 cells of the base groups have enough counts and genes; give --scale-on all.")
        chosen = scanpy.pp.filter_genes_dispersion(cells[reference].X, flavor="seurat", log=True, **DISPERSION)
        if not chosen["gene_subset"].any():
            raise DataError(
                "no gene varies more than others of its mean; give --preparation none if these are no raw counts."
            )
        cells = cells[:, chosen["gene_subset"]].copy()
        scanpy.pp.log1p(cells)
        work.say(
            f"{cells.n_obs} cells x {cells.n_vars} genes are left; scaled, and so dense, they need "
            f"{3 * 4 * cells.n_obs * cells.n_vars / 1e9:.1f} GB for a while."
        )
        scores = _scaled(cells, reference)
    remarks = [
        f"{matrix.shape[0] - len(rows)} of {matrix.shape[0]} labelled cells have too few counts or genes.",
        f"{cells.n_vars} genes were chosen with scanpy {version('scanpy')}, anndata {version('anndata')}.",
    ]
    if settings.expected_genes not in (None, cells.n_vars):
        remarks.append(
            f"{settings.expected_genes} genes were expected, not {cells.n_vars}: the file or a version differs."
        )
    return scores, rows, remarks


def _scaled(cells: "AnnData", reference: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
    """z-scores by the reference cells, clipped; a gene that does not vary scores 0."""
    import scanpy

    if reference.all():
        scanpy.pp.scale(cells, max_value=LARGEST_SCORE, zero_center=True)
        return np.nan_to_num(np.asarray(cells.X, dtype=np.float32), copy=False)
    own = cells[reference].copy()
    scanpy.pp.scale(own, zero_center=True)
    dense = np.asarray(cells.X.todense(), dtype=np.float32)
    dense -= own.var["mean"].to_numpy(dtype=np.float32)
    dense /= own.var["std"].to_numpy(dtype=np.float32)
    return np.nan_to_num(np.clip(dense, -LARGEST_SCORE, LARGEST_SCORE, out=dense), copy=False)
