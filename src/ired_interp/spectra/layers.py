"""Which parameters make a layer."""

from collections.abc import Iterable


def layers_of(names: Iterable[str]) -> dict[str, list[str]]:
    """Group parameters by layer.

    Parameters
    ----------
    names : iterable of str
        Of parameters.

    Returns
    -------
    dict
        Layer → its parameters; fc2.weight and fc2.bias make the layer fc2.
    """
    layers: dict[str, list[str]] = {}
    for name in names:
        layers.setdefault(name.rpartition(".")[0] or name, []).append(name)
    return layers
