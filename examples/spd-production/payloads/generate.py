#!/usr/bin/env python3
"""Step 1: generate proton-proton collisions at sqrt(s) = 27 GeV with Pythia 6.

Writes a ROOT file with two trees:

* ``MCEvents``: one entry per collision with the event number and jagged
  branches of the charged final-state particles: PDG code, charge [e],
  momentum [GeV], production vertex [mm] and the PDG code of the parent.
* ``RunInfo``: one entry that says how the events were made.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

# One job has one core: more linear-algebra threads would only get in each
# other's way. Must be set before numpy is imported.
for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")
# chromo parses DEBUG as a number at import; a foreign value would stop it.
os.environ.pop("DEBUG", None)

import awkward as ak
import numpy as np
import uproot
from chromo.constants import GeV
from chromo.kinematics import CenterOfMass
from chromo.models import Pythia6

SQRT_S_GEV = 27.0
FINAL_STATE = 1  # HEPEVT status of a particle that leaves the collision
DECAY_IN_FLIGHT = (310, 3122, -3122)  # K0s, Lambda and its antiparticle

TRACK_TYPES = {
    "pdg": np.int32,
    "charge": np.int32,
    "px": np.float32,
    "py": np.float32,
    "pz": np.float32,
    "vx": np.float32,
    "vy": np.float32,
    "vz": np.float32,
    "parent_pdg": np.int32,
}


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
    print(f"generate: {message}", file=sys.stderr, flush=True)
    write_report(code, message, 0, {})
    sys.exit(code)


def say(text: str) -> None:
    """Print one progress line at once, so that a live log shows it."""
    print(f"generate: {text}", flush=True)


def divert_fortran_output(path: str) -> None:
    """Send what Pythia prints to `path` and keep stdout for progress lines.

    Pythia writes its banner through the Fortran runtime straight to file
    descriptor 1, part of it only when the process ends.
    """
    sys.stdout.flush()
    terminal = os.dup(1)
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.dup2(log, 1)
    os.close(log)
    sys.stdout = os.fdopen(terminal, "w")


def generate(seed: int, events: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return the number of kept particles per event, and their branches."""
    generator = Pythia6(CenterOfMass(SQRT_S_GEV * GeV, "p", "p"), seed=seed)
    for pdg in DECAY_IN_FLIGHT:
        generator.set_stable(pdg, False)

    counts = np.zeros(events, dtype=np.int64)
    columns: dict[str, list[np.ndarray]] = {name: [] for name in TRACK_TYPES}
    for index, event in enumerate(generator(events)):
        keep = np.flatnonzero((event.status == FINAL_STATE) & (event.charge != 0))
        mother = event.mothers[keep, 0]
        parent = np.where(mother >= 0, event.pid[mother], 0)
        counts[index] = len(keep)
        values = {"pdg": event.pid[keep], "charge": np.rint(event.charge[keep]), "parent_pdg": parent}
        for name in ("px", "py", "pz", "vx", "vy", "vz"):
            values[name] = getattr(event, name)[keep]
        for name, value in values.items():
            columns[name].append(value.astype(TRACK_TYPES[name]))
        if (index + 1) % 500 == 0:
            say(f"{index + 1} of {events} events")
    return counts, {name: np.concatenate(parts) for name, parts in columns.items()}


def write(path: str, args: argparse.Namespace, counts: np.ndarray, tracks: dict[str, np.ndarray]) -> None:
    """Write the two trees."""
    jagged = ak.unflatten(ak.Array(tracks), counts)
    with uproot.recreate(path, compression=uproot.ZLIB(4)) as file:
        # One shared counter, and branches named by the quantity alone.
        tree = file.mktree(
            "MCEvents",
            {"event": np.int64, "tracks": jagged.type.content},
            counter_name=lambda _: "n_tracks",
            field_name=lambda _, inner: inner,
        )
        tree.extend({"event": args.first_event + np.arange(args.events), "tracks": jagged})
        info = {
            "generator_seed": np.array([args.seed], dtype=np.int64),
            "first_event": np.array([args.first_event], dtype=np.int64),
            "n_events": np.array([args.events], dtype=np.int64),
            "sqrt_s_gev": np.array([SQRT_S_GEV]),
        }
        file.mktree("RunInfo", {name: value.dtype for name, value in info.items()}).extend(info)


def number(least: int, most: int) -> Callable[[str], int]:
    """Return an argparse type for an integer in a closed range."""

    def parse(text: str) -> int:
        value = int(text)
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{value} is not in {least}..{most}")
        return value

    parse.__name__ = "integer"  # argparse shows it when int() refuses the text
    return parse


def main() -> None:
    """Run the step."""
    parser = argparse.ArgumentParser(description="Generate pp collisions with Pythia 6.", allow_abbrev=False)
    parser.add_argument("--seed", type=number(0, 2**62), required=True, help="random seed")
    parser.add_argument("--events", type=number(1, 1_000_000), required=True, help="collisions to generate")
    parser.add_argument("--first-event", type=number(0, 2**62), required=True, help="number of the first event")
    parser.add_argument("--output", required=True, help="ROOT file to write")
    args = parser.parse_args()

    divert_fortran_output("pythia6.log")
    say(f"Pythia 6, pp at {SQRT_S_GEV:g} GeV, {args.events} events from {args.first_event}, seed {args.seed}")
    counts, tracks = generate(args.seed, args.events)
    try:
        write(args.output, args, counts, tracks)
    except OSError as error:
        fail(74, f"cannot write {args.output}: {error}")
    write_report(0, "OK", args.events, {args.output: args.events})
    say(f"wrote {args.output}: {counts.sum()} charged particles, {Path(args.output).stat().st_size} bytes")


if __name__ == "__main__":
    main()
