#!/usr/bin/env python3
"""Step 3: find K0s and Lambda decays (V0s) among the simulated tracks.

Reads the data file of the simulation together with its parameter file, and
refuses a pair that does not belong together. Every pair of opposite charge
in an event is a candidate: the two straight tracks must come close to each
other away from the primary vertex, and the summed momentum must point back.

Writes a ROOT file with two trees:

* ``V0``: one entry per candidate with its mass [GeV] under three hypotheses,
  flight distance and distance of closest approach [mm], cosine of the pointing
  angle, transverse momentum [GeV] and the Armenteros-Podolanski asymmetry.
* ``RunInfo``: one entry that says which events were searched.
"""

import argparse
import json
import os
import sys
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

# One job has one core. Must be set before numpy is imported.
for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

import awkward as ak
import numpy as np
import uproot

EXIT_BAD_INPUT = 65
EXIT_NO_INPUT = 66
EXIT_MISMATCH = 67

PION_GEV = 0.13957
PROTON_GEV = 0.93827
K0S_RANGE_GEV = (0.40, 0.60)  # a candidate is kept in either range
LAMBDA_RANGE_GEV = (1.07, 1.20)

# Loose cuts; the analysis step tightens them.
MAX_DCA_MM = 2.0
MIN_FLIGHT_MM = 2.0
MIN_COS_POINTING = 0.98

VERTEX = ("pv_x", "pv_y", "pv_z")
CHECKED = ("charge", "px", "py", "pz", "x", "y", "z")  # branches in the checksum
KEPT_PARAMETERS = ("generator_seed", "first_event", "n_events", "sqrt_s_gev", "seed")


def write_report(code: int, message: str, events: int, outputs: dict[str, int]) -> None:
    """Write the job report; `outputs` maps a file name to its entries."""
    files = [
        {"name": name, "nentries": entries, "file_size": Path(name).stat().st_size}
        for name, entries in outputs.items()
    ]
    report = {
        "exitCode": code,
        "exitMsg": message,
        "nEvents": events,
        "files": {"output": [{"subFiles": [entry]} for entry in files]},
    }
    Path("jobReport.json").write_text(json.dumps(report, indent=1) + "\n")


def fail(code: int, message: str) -> NoReturn:
    """End the job with an error line and a report that repeats it."""
    print(f"reconstruct: {message}", file=sys.stderr, flush=True)
    write_report(code, message, 0, {})
    sys.exit(code)


def one_line(error: Exception) -> str:
    """Return the text of an error without its line breaks."""
    return " ".join(str(error).split())


def say(text: str) -> None:
    """Print one progress line at once, so that a live log shows it."""
    print(f"reconstruct: {text}", flush=True)


def read_tree(path: str, name: str, branches: Sequence[str]) -> ak.Array:
    """Read the named branches of one tree."""
    if not Path(path).is_file():
        fail(EXIT_NO_INPUT, f"no input file {path}")
    try:
        with uproot.open(path) as file:
            return file[name].arrays(list(branches))
    except Exception as error:  # a broken file raises whatever its bytes lead to
        fail(EXIT_BAD_INPUT, f"cannot read tree {name} of {path}: {one_line(error)}")


def verify(args: argparse.Namespace, events: int, tracks: dict[str, np.ndarray], parameters: dict) -> None:
    """Refuse a parameter file that was not written with this data file."""
    crc = 0
    for name in CHECKED:
        crc = zlib.crc32(np.ascontiguousarray(tracks[name], dtype="<f4").tobytes(), crc)
    found = {"n_events": events, "n_tracks": len(tracks["px"]), "data_checksum": crc}
    for name, value in found.items():
        if parameters[name] != value:
            fail(
                EXIT_MISMATCH,
                f"parameter file {args.parameters} does not belong to data file {args.input}: "
                f"{name} is {parameters[name]} in the parameters and {value} in the data",
            )


def opposite_pairs(owner: np.ndarray, charge: np.ndarray, events: int) -> tuple[np.ndarray, np.ndarray]:
    """Return indices of the positive and the negative track of every pair.

    `owner` is the event of each track, in rising order.
    """
    positive, negative = np.flatnonzero(charge > 0), np.flatnonzero(charge < 0)
    n_negative = np.bincount(owner[negative], minlength=events)
    first_negative = np.cumsum(n_negative) - n_negative
    # Each positive track meets every negative one of its event in turn.
    partners = n_negative[owner[positive]]
    start = np.cumsum(partners) - partners
    turn = np.arange(partners.sum()) - np.repeat(start, partners)
    return np.repeat(positive, partners), negative[np.repeat(first_negative[owner[positive]], partners) + turn]


def dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the scalar products of two lists of vectors."""
    return np.einsum("ij,ij->i", a, b)


def mass(p1: np.ndarray, m1: float, p2: np.ndarray, m2: float) -> np.ndarray:
    """Return the invariant mass [GeV] of momenta [GeV] under a hypothesis."""
    energy = np.sqrt(dot(p1, p1) + m1**2) + np.sqrt(dot(p2, p2) + m2**2)
    total = p1 + p2
    return np.sqrt(np.maximum(energy**2 - dot(total, total), 0.0))


def find_v0(events: ak.Array, tracks: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the branches of the V0 tree."""
    owner = np.repeat(np.arange(len(events)), ak.to_numpy(ak.num(events["px"])))
    plus, minus = opposite_pairs(owner, tracks["charge"], len(events))
    momentum = np.stack([tracks[name] for name in ("px", "py", "pz")], axis=1).astype(np.float64)
    point = np.stack([tracks[name] for name in ("x", "y", "z")], axis=1).astype(np.float64)
    primary = np.stack([ak.to_numpy(events[name]) for name in VERTEX], axis=1).astype(np.float64)

    # Closest approach of the lines x1 + s d1 and x2 + t d2.
    p1, p2, x1, x2 = momentum[plus], momentum[minus], point[plus], point[minus]
    d1 = p1 / np.linalg.norm(p1, axis=1, keepdims=True)
    d2 = p2 / np.linalg.norm(p2, axis=1, keepdims=True)
    gap = x1 - x2
    cosine = dot(d1, d2)
    # Parallel lines have no single closest point; the floor keeps it finite.
    scale = np.maximum(1.0 - cosine**2, 1e-9)
    s = (cosine * dot(d2, gap) - dot(d1, gap)) / scale
    t = (dot(d2, gap) - cosine * dot(d1, gap)) / scale
    close1, close2 = x1 + s[:, None] * d1, x2 + t[:, None] * d2

    total = p1 + p2
    size = np.linalg.norm(total, axis=1)
    flight = 0.5 * (close1 + close2) - primary[owner[plus]]
    distance = np.linalg.norm(flight, axis=1)
    along1, along2 = dot(p1, total), dot(p2, total)
    v0 = {
        "event": ak.to_numpy(events["event"])[owner[plus]],
        "mass_k0s": mass(p1, PION_GEV, p2, PION_GEV),
        "mass_lambda": mass(p1, PROTON_GEV, p2, PION_GEV),
        "mass_antilambda": mass(p1, PION_GEV, p2, PROTON_GEV),
        "flight_mm": distance,
        "dca_mm": np.linalg.norm(close1 - close2, axis=1),
        "cos_pointing": dot(flight, total) / np.maximum(distance * size, 1e-12),
        "pt": np.hypot(total[:, 0], total[:, 1]),
        "asymmetry": (along1 - along2) / np.maximum(along1 + along2, 1e-12),
    }

    in_range = np.zeros(len(plus), dtype=bool)
    for name, (low, high) in {
        "mass_k0s": K0S_RANGE_GEV,
        "mass_lambda": LAMBDA_RANGE_GEV,
        "mass_antilambda": LAMBDA_RANGE_GEV,
    }.items():
        in_range |= (v0[name] > low) & (v0[name] < high)
    keep = (
        in_range
        & (v0["dca_mm"] < MAX_DCA_MM)
        & (v0["flight_mm"] > MIN_FLIGHT_MM)
        & (v0["cos_pointing"] > MIN_COS_POINTING)
    )
    return {name: value[keep] for name, value in v0.items()}


def main() -> None:
    """Run the step."""
    parser = argparse.ArgumentParser(description="Find K0s and Lambda decays.", allow_abbrev=False)
    parser.add_argument("--input", required=True, help="data file of the simulation step")
    parser.add_argument("--parameters", required=True, help="its parameter file")
    parser.add_argument("--output", required=True, help="ROOT file to write")
    args = parser.parse_args()

    events = read_tree(args.input, "SimEvents", ("event", *VERTEX, *CHECKED))
    rows = read_tree(args.parameters, "Parameters", (*KEPT_PARAMETERS, "n_tracks", "data_checksum"))
    if len(rows) != 1:
        fail(EXIT_BAD_INPUT, f"{args.parameters} has {len(rows)} parameter rows, not one")
    parameters = rows[0].tolist()
    tracks = {name: ak.to_numpy(ak.flatten(events[name])) for name in CHECKED}
    verify(args, len(events), tracks, parameters)
    say(f"{len(events)} events with {len(tracks['px'])} tracks, parameters match")

    v0 = find_v0(events, tracks)
    info = {name: np.array([parameters[name]]) for name in KEPT_PARAMETERS}
    try:
        with uproot.recreate(args.output, compression=uproot.ZLIB(4)) as file:
            for name, branches in (("V0", v0), ("RunInfo", info)):
                file.mktree(name, {key: value.dtype for key, value in branches.items()}).extend(branches)
    except OSError as error:
        fail(74, f"cannot write {args.output}: {error}")
    write_report(0, "OK", len(events), {args.output: len(v0["event"])})
    say(f"wrote {args.output}: {len(v0['event'])} candidates, {Path(args.output).stat().st_size} bytes")


if __name__ == "__main__":
    main()
