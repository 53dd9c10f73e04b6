"""The contract of figures of one's own: a class whose name is the label of the result it draws."""

from abc import ABC, abstractmethod

from ired_interp.registry import Registered
from ired_interp.report.collect import Section
from ired_interp.report.figure import Figure


class Drawing(Registered, ABC):
    """How a probe's results are drawn, on the page of `ired report`, for a paper and in W&B.

    Attributes
    ----------
    name : str
        The probe's label, or what it begins with. A label belongs to the longest such name, and a
        class of one's own comes before the figures of the package.

    Examples
    --------
    >>> class MeanEnergyDrawing(Drawing):
    ...     name = "mean_energy"
    ...
    ...     def __call__(self, section):
    ...         return [Figure(section.probe, "Mean energy", f"Measured {section.points()}.")]
    """

    @abstractmethod
    def __call__(self, section: Section) -> list[Figure]:
        """Make the figures of one measurement.

        Parameters
        ----------
        section : Section
            The measurement, as made on every run that has it.

        Returns
        -------
        list of Figure
            Their names begin with `section.probe`; none where there is nothing to show.
        """
