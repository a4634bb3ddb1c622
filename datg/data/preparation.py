"""How the examples of a data set were prepared, as far as new ones need to know it: saved with the data set and with every model.

Pictures need their size, and of grey with more than 8 bits which value was white. Cells need the names of their genes, and of
counts the genes that were chosen with their means and deviations.
"""

from typing import Any

from pydantic import BaseModel, ConfigDict


class Preparation(BaseModel):
    """Hold what a data set was prepared with; a picture's size is the shape of the examples.

    Attributes:
        white: the value that is white, of grey with more than 8 bits that does not say it itself.
        genes: names of the genes that a file of cells must have, in the order of the data set; empty where they have none.
        chosen: which of them have scores; None where values were taken as they are.
        mean: of each chosen gene, that scores are z-scores of.
        deviation: likewise.
        counts: which matrix of the file holds the counts: ``X``, ``raw``, or ``layer:NAME``.
        label_column: that named the class of a cell.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    white: int | None = None
    genes: list[str] = []
    chosen: list[int] | None = None
    mean: list[float] = []
    deviation: list[float] = []
    counts: str = "X"
    label_column: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values without defaults, from which an equal one can be made."""
        return self.model_dump(mode="json", exclude_defaults=True)
