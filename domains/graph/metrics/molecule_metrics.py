"""Figures of generated molecules: validity, uniqueness, novelty, and the Fréchet ChemNet distance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from refine.domains.graph.graphs.graphs import Graph
from refine.domains.graph.graphs.molecules import chemistry, from_graph, to_smiles
from refine.domains.graph.metrics.mmd import Array
from refine.extras import how_to_install
from refine.progress import track

FCD_MOLECULES = 10_000  # of each set, as published figures have it


def molecule_metrics(
    samples: Sequence[Graph],
    reference: Sequence[Graph],
    train: Sequence[Graph],
    atoms: Sequence[str],
    bonds: Sequence[str],
) -> dict[str, Any]:
    """Figures as tables of molecules have them (the definitions of DiGress, arXiv 2209.14734).

    ``valid``: share of the samples that chemistry allows (rdkit sanitizes them); of a sample in several fragments the
    largest then stands for it. ``valid_connected``: share that is allowed and in one piece. ``unique``: share of
    different SMILES among the valid; ``novel``: share of those that no training molecule has. ``vun``: share of the
    samples that is all three. ``fcd``: distance between valid samples and the reference (Preuer et al., arXiv
    1803.09518), ``floor_fcd``: between as many training molecules and the reference.

    Args:
        atoms: names of the kinds of nodes, as :func:`~refine.domains.graph.graphs.molecules.from_graph` takes them.
        bonds: names of the kinds of edges.
    """
    Chem = chemistry()
    smiles, connected = [], 0
    for graph in track(samples, "molecules"):
        mol = from_graph(graph, atoms, bonds)
        if mol is None:
            continue
        fragments = Chem.GetMolFrags(mol, asMols=True)
        connected += len(fragments) == 1
        smiles.append(Chem.MolToSmiles(max(fragments, key=lambda fragment: fragment.GetNumAtoms())))
    known = {to_smiles(graph, atoms, bonds) for graph in track(train, "training molecules")}
    different = set(smiles)
    new = different - known
    out: dict[str, Any] = {
        "valid": len(smiles) / len(samples),
        "valid_connected": connected / len(samples),
        "unique": len(different) / max(1, len(smiles)),
        "novel": len(new) / max(1, len(different)),
        "vun": len(new) / len(samples),
        "validity": "rdkit sanitizes it; unique: among valid ones, novel: among unique ones, by largest fragment",
    }
    real, other = ([to_smiles(graph, atoms, bonds) or "" for graph in _some(part)] for part in (reference, train))
    return out | chemnet_distances(smiles, list(filter(None, real)), list(filter(None, other)))


def _some(graphs: Sequence[Graph]) -> list[Graph]:
    """At most :data:`FCD_MOLECULES`, drawn at random."""
    return [graphs[i] for i in np.random.default_rng(0).permutation(len(graphs))[:FCD_MOLECULES].tolist()]


def chemnet_distances(samples: list[str], reference: list[str], train: list[str]) -> dict[str, Any]:
    """``fcd`` of the samples and, of as many training molecules, ``floor_fcd``; or ``fcd_missing``, a reason."""
    samples = samples[:FCD_MOLECULES]
    if min(len(samples), len(reference), len(train)) < 2:
        return {"fcd_missing": "fewer than 2 molecules that chemistry allows"}
    try:
        import fcd
    except ModuleNotFoundError as error:
        return {"fcd_missing": how_to_install(error)}
    network = fcd.load_ref_model()
    moments = []
    for smiles in (samples, reference, train[: len(samples)]):
        parts = [smiles[i : i + 500] for i in range(0, len(smiles), 500)]
        features = np.concatenate([fcd.get_predictions(network, part, n_jobs=0) for part in track(parts, "ChemNet")])
        moments.append((features.mean(axis=0), np.cov(features.T)))
    ours, real, other = moments
    return {"fcd": _frechet(*ours, *real), "floor_fcd": _frechet(*other, *real)}


def _frechet(mean_a: Array, covariance_a: Array, mean_b: Array, covariance_b: Array) -> float:
    """|m_a - m_b|^2 + Tr(S_a + S_b - 2 (S_a S_b)^(1/2)), the root by its eigenvalues: ``fcd`` takes it by a function
    of scipy that goes away."""
    roots = np.sqrt(np.linalg.eigvals(covariance_a @ covariance_b).real.clip(min=0))
    return float(np.sum((mean_a - mean_b) ** 2) + np.trace(covariance_a + covariance_b) - 2 * roots.sum())
