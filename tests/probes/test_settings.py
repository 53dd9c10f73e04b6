"""Settings that cannot be, that mean nothing or that a model does not fit are refused before anything is measured."""

import inspect
from typing import Any

import pytest

from ired_interp.diffusion import Inference
from ired_interp.energy import MLPEnergy
from ired_interp.errors import InputError
from ired_interp.module import IREDModule
from ired_interp.probes import (
    Curvature,
    GradientStatisticsTheta,
    GradientStatisticsY,
    HessianSpectrumTheta,
    HessianSpectrumY,
    InferenceTrajectory,
    Minimum,
    Path,
    Probe,
    Slice,
    SubspaceDrift,
    ThetaSlice,
)
from ired_interp.tasks import ExactEnergy, Inverse

BAD = [
    (HessianSpectrumY, {"landscapes": []}, "landscapes=[]"),
    (HessianSpectrumY, {"landscapes": [-1]}, "landscapes=[-1]"),
    (HessianSpectrumY, {"landscapes": [2, 2]}, "different indices"),
    (HessianSpectrumY, {"landscapes": "mixed"}, "landscapes=mixed"),
    (HessianSpectrumY, {"point": "saddle"}, "no point 'saddle'"),
    (HessianSpectrumY, {"dtype": "float16"}, "no dtype 'float16'"),
    (HessianSpectrumY, {"memory_gib": 0}, "memory_gib=0"),
    (HessianSpectrumTheta, {"objective": "accuracy"}, "no objective 'accuracy'"),
    (HessianSpectrumTheta, {"which": "all"}, "no which 'all'"),
    (HessianSpectrumTheta, {"backend": "arpack"}, "no backend 'arpack'"),
    (HessianSpectrumTheta, {"backend": "pyhessian"}, "set which to LM"),
    (HessianSpectrumTheta, {"eigenpairs": 0}, "eigenpairs=0"),
    (HessianSpectrumTheta, {"tol": 1e-9}, "float32 allows"),
    (HessianSpectrumTheta, {"tol": 1.0}, "tol=1.0"),
    (HessianSpectrumTheta, {"density_probes": 1}, "at least 2"),
    (HessianSpectrumTheta, {"density_steps": 0}, "density_steps=0"),
    (HessianSpectrumTheta, {"trace_matvecs": 7}, "at least 8"),
    (HessianSpectrumTheta, {"memory_gib": -1}, "memory_gib=-1"),
    (GradientStatisticsY, {"landscapes": "some"}, "landscapes=some"),
    (GradientStatisticsY, {"point": "here"}, "no point 'here'"),
    (GradientStatisticsTheta, {"microbatch": 0}, "microbatch=0"),
    (GradientStatisticsTheta, {"memory_gib": 0.0}, "memory_gib=0.0"),
    (InferenceTrajectory, {"steps": 0}, "steps=0"),
    (InferenceTrajectory, {"rank": 0}, "rank=0"),
    (ThetaSlice, {"normalisation": "batch"}, "no normalisation 'batch'"),
    (ThetaSlice, {"directions": "up"}, "no directions 'up'"),
    (ThetaSlice, {"objective": "accuracy"}, "no objective 'accuracy'"),
    (ThetaSlice, {"grid": 2}, "grid=2"),
    (ThetaSlice, {"reach": -1.0}, "reach=-1.0"),
    (Path, {"between": "friends"}, "no between 'friends'"),
    (Path, {"intervals": 5}, "intervals=5"),
    (Path, {"bands": 0}, "bands=0"),
    (Path, {"band_steps": -1}, "band_steps=-1"),
    (Path, {"rank": 0}, "rank=0"),
    (Slice, {"grid": 4}, "grid=4"),
    (Slice, {"reach": 0.0}, "reach=0.0"),
    (Slice, {"draws": 0}, "draws=0"),
    (Slice, {"point": "here"}, "no point 'here'"),
    (Slice, {"rank": 0}, "rank=0"),
    (Minimum, {"starts": 1}, "starts=1"),
    (Minimum, {"steps": 0}, "steps=0"),
    (Minimum, {"landscapes": []}, "landscapes=[]"),
    (Curvature, {"point": "saddle"}, "no point 'saddle'"),
    (Curvature, {"rank": 0}, "rank=0"),
    (Curvature, {"candidates": 0}, "candidates=0"),
    (Curvature, {"dtype": "float16"}, "no dtype 'float16'"),
    (Curvature, {"memory_gib": 0}, "memory_gib=0"),
]


@pytest.mark.parametrize(("kind", "settings", "words"), BAD)
def test_values_that_cannot_be_are_refused_at_construction(
    kind: type[Probe], settings: dict[str, Any], words: str
) -> None:
    with pytest.raises(InputError) as refused:
        kind(**settings)
    assert words in str(refused.value)
    assert kind.name in str(refused.value)


def network(landscapes: int = 3, width: int = 4, **settings: Any) -> IREDModule:
    return IREDModule(MLPEnergy(4, 4, width, landscapes), **settings)


@pytest.mark.parametrize(
    ("probe", "module", "words"),
    [
        *(
            (kind(landscapes=[0, 3]), network(), "this model has 0 to 2")
            for kind in (
                Curvature,
                Minimum,
                Slice,
                Path,
                HessianSpectrumY,
                HessianSpectrumTheta,
                GradientStatisticsY,
                GradientStatisticsTheta,
            )
        ),
        *(
            (kind(), IREDModule(ExactEnergy(Inverse(2))), "ExactEnergy has none")
            for kind in (HessianSpectrumTheta, GradientStatisticsTheta, ThetaSlice)
        ),
        (HessianSpectrumTheta(eigenpairs=10**6), network(), "weights; lower eigenpairs"),
        (HessianSpectrumTheta(memory_gib=1e-6), network(), "memory"),
        (InferenceTrajectory(rank=2), network(), "rank 2 of 2 × 2 matrices"),
        (
            InferenceTrajectory(rank=1),
            IREDModule(MLPEnergy(4, 5, 4)),
            "5 entries are no square matrices",
        ),
        (
            InferenceTrajectory(),
            network(inference=Inference(gradient_descent=False)),
            "no gradient steps",
        ),
    ],
)
def test_a_model_that_does_not_fit_is_refused_before_anything_is_measured(
    probe: Probe, module: IREDModule, words: str
) -> None:
    with pytest.raises(InputError) as refused:
        probe.check(module)
    assert words in str(refused.value)


@pytest.mark.parametrize("kind", dict.fromkeys(Probe.registry.values()))
def test_defaults_fit_every_model_and_their_small_copy_keeps_what_decides(
    kind: type[Probe],
) -> None:
    if not kind.__module__.startswith("ired_interp"):
        return  # a probe of another test
    probe = kind()
    probe.check(network(width=16))
    small = probe.small()
    assert type(small) is kind
    assert small is not probe
    assert small.label == probe.label
    assert probe.settings() == kind().settings()  # the original is as it was
    small.check(network(width=16))


def test_small_probes_keep_the_ends_of_a_list_of_landscapes() -> None:
    for kind in (HessianSpectrumY, HessianSpectrumTheta, SubspaceDrift, GradientStatisticsY):
        assert kind(landscapes=[7, 1, 12]).small().landscapes == [1, 12]
    small = HessianSpectrumTheta(landscapes="mixed", eigenpairs=50, density_probes=0).small()
    assert (small.landscapes, small.eigenpairs, small.density_probes) == ("mixed", 2, 0)
    assert (small.tol, small.trace_matvecs, small.density_steps) == (0.3, 8, 5)


@pytest.mark.parametrize("kind", dict.fromkeys(Probe.registry.values()))
def test_every_setting_is_kept_under_its_name(kind: type[Probe]) -> None:
    assert set(inspect.signature(kind).parameters) <= set(kind().settings())
