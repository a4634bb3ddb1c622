"""Cells in an AnnData file (``.h5ad``): raw counts that are normalised, reduced and scaled, or values taken as they are.

Needs the packages of ``datg[cells]``.
"""

import contextlib
import warnings
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from datg.data.import_settings import ImportSettings
from datg.data.importing.arrays import VectorRow
from datg.data.importing.cell_preparation import COUNTS_OF_A_CELL, GENES_OF_A_CELL, prepare_counts, prepare_like
from datg.data.importing.h5ad_matrix import read_rows
from datg.data.preparation import Preparation
from datg.data.raw_data import RawData, Workplace, listed
from datg.errors import ConfigError, DataError

if TYPE_CHECKING:
    from anndata import AnnData

FORM = "AnnData .h5ad"
ABSENT_LABELS = ("nan", "NA", "")
FEW = f"fewer than {COUNTS_OF_A_CELL} counts or {GENES_OF_A_CELL} genes, as were left out of the data set"
SPARSE_BYTES = (
    24  # of a value at the peak (measured): the matrix, a copy of it without some genes, and what compares it
)


def recognise(raw: Path) -> bool:
    """Return whether it is or has an ``.h5ad`` file."""
    return _path(raw) is not None


def read(raw: Path, settings: ImportSettings, work: Workplace) -> RawData:
    """Read labels, prepare the matrix, and make one class of each label.

    Raises:
        ConfigError: the packages are missing, or settings do not fit each other.
        DataError: it is no such file, lacks columns, or its values are not what the preparation needs.
    """
    path = _checked_path(raw)
    cells = _open(path)
    label, group = _columns(cells, path, settings)
    absent = cells.obs[label].isna().to_numpy()
    labels = cells.obs[label].astype(str).to_numpy()
    groups = np.full(len(labels), "") if group is None else cells.obs[group].astype(str).to_numpy()
    named = ~(absent | np.isin(labels, ABSENT_LABELS))
    if not named.any():
        raise DataError(f"{path} has no cell with a label in column {label}; name another --label-column.")
    remarks = [] if named.all() else [f"{(~named).sum()} cells without a label in column {label} are left out."]
    base = _base_cells(groups, settings)
    names, labels, groups = cells.obs_names[named].astype(str).to_numpy(), labels[named], groups[named]
    gene_names = _gene_names(cells, settings.counts)
    preparation = Preparation(genes=gene_names.tolist(), counts=settings.counts, label_column=label)
    twice = [name for name, count in Counter(preparation.genes).items() if count > 1]
    if twice:
        remarks.append(f"genes named alike: {listed(twice)}; a model of them cannot be applied to other files.")
    if settings.preparation == "counts":
        prepared = prepare_counts(
            _read_matrix(cells, path, named, settings.counts, counts=True, work=work),
            None if base is None else base[named],
            expected_genes=settings.expected_genes,
            notify=work.notify,
        )
        dense, rows = prepared.scores, prepared.rows
        names, labels, groups = names[rows], labels[rows], groups[rows]
        remarks += prepared.remarks
        found = {
            "genes": gene_names[prepared.counted].tolist(),
            "chosen": np.searchsorted(prepared.counted, prepared.chosen).tolist(),
            "mean": prepared.mean.tolist(),
            "deviation": prepared.deviation.tolist(),
        }
        preparation = preparation.model_copy(update=found)
    else:
        matrix = _read_matrix(cells, path, named, settings.counts, counts=False, work=work)
        work.notify(f"dense, the values need {2 * 4 * matrix.shape[0] * matrix.shape[1] / 1e9:.1f} GB for a while.")
        dense = matrix.toarray()
    classes: dict[str, list[VectorRow]] = {str(name): [] for name in np.unique(labels)}
    for row, (name, class_, group_name) in enumerate(zip(names, labels, groups, strict=True)):
        classes[class_].append(VectorRow(dense, row, str(name), str(group_name)))
    return RawData(classes, shape=(dense.shape[1],), dtype="float32", remarks=tuple(remarks), preparation=preparation)


def read_like(
    raw: Path, preparation: Preparation, label_column: str | None, work: Workplace, *, labels_needed: bool = True
) -> tuple[list[VectorRow], list[str] | None]:
    """Read new cells, prepared like those of a data set, and their labels if a column is named; "" stands for none.

    Args:
        raw: the file.
        preparation: of the data set.
        label_column: that names the classes.
        work: a folder, and progress.
        labels_needed: whether that column must be there.

    Raises:
        ConfigError: the packages are missing.
        DataError: it is no such file, lacks genes or the column, or its values are not what the preparation needs.
    """
    path = _checked_path(raw)
    cells = _open(path)
    _check_cell_names(cells, path)
    labels = None
    if label_column is not None and (labels_needed or label_column in cells.obs.columns):
        _check_columns(cells, path, [label_column])
        column = cells.obs[label_column].astype(str).to_numpy()
        absent = cells.obs[label_column].isna().to_numpy() | np.isin(column, ABSENT_LABELS)
        labels = np.where(absent, "", column).tolist()
    places = _places_of_genes(_gene_names(cells, preparation.counts), preparation.genes, path)
    every = np.ones(cells.n_obs, dtype=np.bool_)
    is_counts = preparation.chosen is not None
    hint = "the model was trained on raw counts; name the matrix that holds them with --counts"
    matrix = _read_matrix(cells, path, every, preparation.counts, counts=is_counts, work=work, hint=hint)[:, places]
    if preparation.chosen is None:
        dense, enough = matrix.toarray(), every
    else:
        moments = (np.array(values, dtype=np.float32) for values in (preparation.mean, preparation.deviation))
        dense, enough = prepare_like(matrix, np.array(preparation.chosen), *moments)
    names = cells.obs_names.astype(str).tolist()
    return [VectorRow(dense, row, name, refusal="" if enough[row] else FEW) for row, name in enumerate(names)], labels


def _gene_names(cells: "AnnData", where: str) -> npt.NDArray[Any]:
    """Return `(genes,)` names of the columns of a matrix."""
    names = cells.raw.var_names if where == "raw" and cells.raw is not None else cells.var_names
    return np.array(names.astype(str))


def _places_of_genes(there: npt.NDArray[Any], wanted: list[str], path: Path) -> npt.NDArray[np.int64]:
    """Return which column of a file holds each gene of a data set.

    Raises:
        DataError: genes are missing, or of the same name.
    """
    column = {name: index for index, name in enumerate(there.tolist())}
    counts = Counter(there.tolist())
    twice = [name for name in wanted if counts[name] > 1]
    if len(set(wanted)) < len(wanted):
        raise DataError(
            "some genes of the model share a name and cannot be told apart; name each gene of its data once, and train again."
        )
    if twice:
        raise DataError(f"{path} must name each gene once, but these stand twice: {listed(twice)}; rename them.")
    missing = [name for name in wanted if name not in column]
    if len(missing) == len(wanted):
        raise DataError(
            f"{path} has none of the {len(wanted)} genes of the model, which calls them {listed(wanted[:3])}, the file "
            f"{listed(there.tolist()[:3])}; name them alike."
        )
    if missing:
        raise DataError(
            f"{path} lacks {len(missing)} of the {len(wanted)} genes of the model: {listed(missing)}; add them, with values of 0 "
            "if they were not seen."
        )
    return np.array([column[name] for name in wanted], dtype=np.int64)


def _checked_path(raw: Path) -> Path:
    path = _path(raw)
    if path is None or not path.is_file():
        raise DataError(f"{raw} must be an .h5ad file, or a folder with one.")
    return path


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
    if settings.label_column is None:
        raise ConfigError(
            "form h5ad needs --label-column, the column that names the class of a cell; "
            f"{path} has: {_column_names(cells)}."
        )
    _check_columns(cells, path, [name for name in (settings.label_column, settings.group_column) if name is not None])
    _check_cell_names(cells, path)
    return settings.label_column, settings.group_column


def _column_names(cells: "AnnData") -> str:
    return listed([str(column) for column in cells.obs.columns], 40) or "none"


def _check_columns(cells: "AnnData", path: Path, wanted: list[str]) -> None:
    missing = [name for name in wanted if name not in cells.obs.columns]
    if missing:
        raise DataError(f"{path} lacks the columns {', '.join(missing)}; it has: {_column_names(cells)}.")


def _check_cell_names(cells: "AnnData", path: Path) -> None:
    doubled = cells.obs_names[cells.obs_names.duplicated()].astype(str).tolist()
    if doubled:
        raise DataError(
            f"{path} must name each cell once, but these names stand twice: {listed(doubled)}; rename them."
        )


def _base_cells(groups: npt.NDArray[Any], settings: ImportSettings) -> npt.NDArray[np.bool_] | None:
    """Return `(cells,)` which cells genes are chosen and scaled on; None for all."""
    if settings.scale_on == "all":
        return None
    if settings.protocol != "groups" or settings.group_column is None:
        raise ConfigError("`--scale-on base` needs --protocol groups and --group-column, which name the base cells.")
    return np.isin(groups, settings.lists().get("base", []))


def _read_matrix(
    cells: "AnnData",
    path: Path,
    named: npt.NDArray[np.bool_],
    where: str,
    *,
    counts: bool,
    work: Workplace,
    hint: str = "",
) -> sparse.csr_matrix:
    """Return the rows of labelled cells, sparse whatever the file holds, checked as they come.

    Raises:
        DataError: values are not finite, or are no counts where counts are wanted.
    """
    values: list[npt.NDArray[Any]] = []
    genes: list[npt.NDArray[Any]] = []
    lengths: list[npt.NDArray[Any]] = [np.zeros(1, dtype=np.int64)]
    wrong = {"are NaN or infinite": 0, "are negative": 0, "are not whole": 0}
    genes_there = _genes(cells, where)
    for chunk, start, stop in read_rows(path, (cells.n_obs, genes_there), _place(where)):
        wrong["are NaN or infinite"] += int((~np.isfinite(chunk.data)).sum())
        if counts:
            wrong["are negative"] += int((chunk.data < 0).sum())
            wrong["are not whole"] += int((chunk.data != np.floor(chunk.data)).sum())
        if start == 0:
            bytes_needed = SPARSE_BYTES * chunk.nnz / max(stop, 1) * cells.n_obs
            work.notify(
                f"{path.name}: {cells.n_obs} cells x {genes_there} genes; sparse they need about {bytes_needed / 1e9:.1f} GB."
            )
        kept = chunk[named[start:stop]]
        values.append(kept.data.astype(np.float32))
        genes.append(kept.indices.astype(np.int32))
        lengths.append(np.diff(kept.indptr))
        work.progress("reading cells", stop, cells.n_obs)
    problems = [f"{number} values {what}" for what, number in wrong.items() if number]
    if problems:
        told = (f"; {hint}" if hint else _where_counts_are(cells, path, where)) if counts else ""
        raise DataError(f"{path} cannot be used: {', '.join(problems)}{told}.")
    if len(lengths) == 1:
        raise DataError(f"{path} holds no cells.")
    ends = np.cumsum(np.concatenate(lengths))
    return sparse.csr_matrix((_joined(values), _joined(genes), ends), shape=(len(ends) - 1, genes_there))


def _place(where: str) -> str:
    """Return where in the file a matrix lies."""
    return {"X": "X", "raw": "raw/X"}.get(where, f"layers/{where.removeprefix('layer:')}")


def _genes(cells: "AnnData", where: str) -> int:
    return int(cells.n_vars if where != "raw" or cells.raw is None else cells.raw.n_vars)


def _where_counts_are(cells: "AnnData", path: Path, where: str) -> str:
    """Return what helps somebody whose matrix is not of counts: another one of the file that is, if there is one."""
    others = ["X", *(["raw"] if cells.raw is not None else []), *(f"layer:{name}" for name in cells.layers)]
    whole = [other for other in others if other != where and _is_of_counts(cells, path, other)]
    if whole:
        return f"; whole counts are in {' and '.join(whole)}: give --counts {whole[0]}"
    return "; give --preparation none if these are not raw counts: no matrix here holds whole numbers"


def _is_of_counts(cells: "AnnData", path: Path, where: str) -> bool:
    """Return whether the first rows of a matrix are whole numbers from 0."""
    with contextlib.suppress(DataError):
        values = next(read_rows(path, (cells.n_obs, _genes(cells, where)), _place(where)))[0].data
        return bool(np.isfinite(values).all() and (values >= 0).all() and (values == np.floor(values)).all())
    return False


def _joined(parts: list[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """Return the parts in one array; they are freed at once, since a matrix in parts and as a whole may not fit."""
    joined = np.concatenate(parts)
    parts.clear()
    return joined
