"""From counts of genes to scores: the preparation of the Tabula Muris benchmark, by scanpy's functions in its order.

On all cells together: drop genes seen in fewer than 5 cells, cells with fewer than 5,000 counts, cells with fewer than 500 genes;
normalise each cell to 10,000; keep genes of high dispersion; log1p; z-scores clipped at 10. Choosing genes and scaling so uses
the (unlabelled) novel cells, too; with reference cells both use those alone (which genes and cells are seen often enough is
still counted on all).
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from datg.errors import DataError

if TYPE_CHECKING:
    from anndata import AnnData

CELLS_OF_A_GENE, COUNTS_OF_A_CELL, GENES_OF_A_CELL = 5, 5000, 500
COUNTS_A_CELL_AFTER = 1e4
DISPERSION = {"min_disp": 0.5, "min_mean": 0.0125, "max_mean": 10.0, "n_bins": 20}
LARGEST_SCORE = 10.0
DENSE_COPIES = 3  # of the scores while they are computed


@dataclass(frozen=True)
class PreparedCells:
    """Hold what is left of a matrix of counts.

    Attributes:
        scores: `(cells, genes)` float32.
        rows: `(cells,)` which rows of the counts they are.
        remarks: what the user should know.
        counted: `(counted,)` which genes the counts of a cell are summed over.
        chosen: `(genes,)` which genes have scores.
        mean: `(genes,)` float32 of what the scores are z-scores of.
        deviation: likewise.
    """

    scores: npt.NDArray[np.float32]
    rows: npt.NDArray[np.int64]
    remarks: list[str]
    counted: npt.NDArray[np.int64]
    chosen: npt.NDArray[np.int64]
    mean: npt.NDArray[np.float32]
    deviation: npt.NDArray[np.float32]


def prepare_counts(
    counts: sparse.csr_matrix,
    reference: npt.NDArray[np.bool_] | None,
    *,
    expected_genes: int | None,
    notify: Callable[[str], None],
) -> PreparedCells:
    """Normalise, choose genes and scale.

    Args:
        counts: `(cells, genes)`; freed on the way if nobody else holds it.
        reference: `(cells,)` which cells genes are chosen and scaled on; None for all.
        expected_genes: another number of genes is remarked on.
        notify: told how much memory the dense scores need, before they are made.

    Raises:
        DataError: no cell, no gene or too few reference cells are left.
    """
    total = counts.shape[0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scanpy's deprecations and those of its dependencies
        import anndata
        import scanpy

        cells = anndata.AnnData(counts)
        del counts
        scanpy.pp.filter_genes(cells, min_cells=CELLS_OF_A_GENE)
        counted = cells.var_names.to_numpy().astype(np.int64)
        rows = np.flatnonzero(_seen_enough(cells))
        if len(rows) == 0 or cells.n_vars == 0:
            raise DataError(
                f"no cell has {COUNTS_OF_A_CELL} counts of {GENES_OF_A_CELL} genes seen in {CELLS_OF_A_GENE} cells; give "
                "--preparation none if the values are not raw counts."
            )
        cells = cells[rows].copy()
        scanpy.pp.normalize_total(cells, target_sum=COUNTS_A_CELL_AFTER)
        reference_cells = None if reference is None else np.flatnonzero(reference[rows])
        if reference_cells is not None and len(reference_cells) < 2:
            raise DataError("fewer than 2 cells of the base groups have enough counts and genes; give --scale-on all.")
        chosen = _chosen_genes(cells if reference_cells is None else cells[reference_cells])
        cells = cells[:, chosen].copy()
        scanpy.pp.log1p(cells)
        dense_bytes = DENSE_COPIES * 4 * cells.n_obs * cells.n_vars
        left = f"{cells.n_obs} cells x {cells.n_vars} genes are left"
        notify(f"{left}; scaled, and so dense, they need {dense_bytes / 1e9:.1f} GB for a while.")
        genes = cells.var_names.to_numpy().astype(np.int64)
        scores, mean, deviation = _scaled(cells, reference_cells)
    remarks = [
        f"{total - len(rows)} of {total} labelled cells have too few counts or genes.",
        f"{cells.n_vars} genes were chosen with scanpy {version('scanpy')}, anndata {version('anndata')}.",
    ]
    if expected_genes not in (None, cells.n_vars):
        remarks.append(f"{expected_genes} genes were expected, not {cells.n_vars}: the file or a version differs.")
    return PreparedCells(scores, rows, remarks, counted, genes, mean, deviation)


def prepare_like(
    counts: sparse.csr_matrix, chosen: npt.NDArray[np.int64], mean: npt.NDArray[Any], deviation: npt.NDArray[Any]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Prepare new cells as :func:`prepare_counts` prepared those of a data set.

    Args:
        counts: `(cells, counted)` of the same genes in the same order as were counted there.
        chosen: `(genes,)` which of them have scores.
        mean: `(genes,)`, as found there.
        deviation: likewise.

    Returns:
        `(cells, genes)` float32 scores, and `(cells,)` which cells have as many counts and genes as was asked for there.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import anndata
        import scanpy

        cells = anndata.AnnData(counts)
        enough = _seen_enough(cells)
        scanpy.pp.normalize_total(cells, target_sum=COUNTS_A_CELL_AFTER)
        cells = cells[:, chosen].copy()
        scanpy.pp.log1p(cells)
    return _scores(cells.X.toarray(), mean, deviation), enough


def _seen_enough(cells: "AnnData") -> npt.NDArray[np.bool_]:
    """Return `(cells,)` which have enough counts and genes; neither rule changes what the other one counts."""
    import scanpy

    enough_counts, _ = scanpy.pp.filter_cells(cells, min_counts=COUNTS_OF_A_CELL, inplace=False)
    enough_genes, _ = scanpy.pp.filter_cells(cells, min_genes=GENES_OF_A_CELL, inplace=False)
    both: npt.NDArray[np.bool_] = enough_counts & enough_genes
    return both


def _chosen_genes(cells: "AnnData") -> npt.NDArray[np.bool_]:
    """Return `(genes,)` those whose dispersion is high for their mean."""
    import scanpy

    chosen: npt.NDArray[Any] = scanpy.pp.filter_genes_dispersion(cells.X, flavor="seurat", log=True, **DISPERSION)[
        "gene_subset"
    ]
    if not chosen.any():
        raise DataError(
            "no gene varies more than others of its mean; give --preparation none if these are no raw counts."
        )
    return chosen


Scaled = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.float32]]


def _scaled(cells: "AnnData", reference_cells: npt.NDArray[np.int64] | None) -> Scaled:
    """Return `(cells, genes)` z-scores by ``reference_cells``, or by all, and the means and deviations of the genes."""
    import scanpy

    if reference_cells is None:
        scanpy.pp.scale(cells, max_value=LARGEST_SCORE, zero_center=True)
        scores = np.nan_to_num(np.asarray(cells.X, dtype=np.float32), copy=False)
        return scores, *_moments(cells)
    reference = cells[reference_cells].copy()
    scanpy.pp.scale(reference, zero_center=True)
    return _scores(cells.X.toarray(), *_moments(reference)), *_moments(reference)


def _moments(scaled: "AnnData") -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return the means and deviations by which scanpy has scaled."""
    mean, deviation = (scaled.var[name].to_numpy(dtype=np.float32) for name in ("mean", "std"))
    return mean, deviation


def _scores(dense: npt.NDArray[Any], mean: npt.NDArray[Any], deviation: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Return z-scores, clipped, in the memory of ``dense``; a gene that does not vary scores 0."""
    dense -= mean
    with np.errstate(invalid="ignore", divide="ignore"):
        dense /= deviation
    return np.nan_to_num(np.clip(dense, -LARGEST_SCORE, LARGEST_SCORE, out=dense), copy=False)
