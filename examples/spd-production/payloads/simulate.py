#!/usr/bin/env python3
"""Step 2: simulate a simple SPD-like tracker.

Reads ``MCEvents`` of the generator step and writes two files, as SPD jobs do:

* the data file with a tree ``SimEvents``: per event the measured primary
  vertex [mm] and jagged branches of the accepted tracks (charge [e], momentum
  [GeV] and one measured point on the track [mm]). The parent of a track is
  not kept; its true PDG code is, for purity checks only.
* the parameter file with a one-row tree ``Parameters``: the constants of the
  simulation and a checksum that ties it to its data file.

The detector has no magnetic bending: a track is a straight line, its momentum
is smeared directly.
"""

import argparse
import json
import os
import struct
import sys
import tempfile
import zlib
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
STEP = 2

# The smearing constants; all of them go to the parameter file.
CONSTANTS = {
    "theta_min_deg": 10.0,  # acceptance: polar angle to either beam
    "pt_min_gev": 0.05,  # acceptance: transverse momentum
    "radius_max_mm": 500.0,  # a track born further out crosses too few layers
    "z_max_mm": 1000.0,  # the same along the beam, from the interaction point
    "efficiency": 0.95,  # of finding an accepted track
    "momentum_resolution": 0.016,  # relative, constant term
    "momentum_resolution_per_gev": 0.004,  # relative, grows with the momentum
    "angle_resolution_mrad": 2.0,  # constant term
    "scattering_mrad_gev": 2.0,  # multiple scattering, falls as 1 / momentum
    "point_resolution_mm": 0.15,  # each coordinate of the measured point
    "vertex_resolution_mm": 0.05,  # each coordinate of the primary vertex
    "beam_spot_xy_mm": 0.5,  # spread of the collisions across the beam
    "beam_spot_z_mm": 300.0,  # spread of the collisions along the beam
    "first_hit_min_mm": 5.0,  # flight from birth to the measured point
    "first_hit_max_mm": 40.0,
}
READ = ("pdg", "charge", "px", "py", "pz", "vx", "vy", "vz")  # the parent is left out
CHECKED = ("charge", "px", "py", "pz", "x", "y", "z")  # branches in the checksum


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


def fail(code: int, message: str, prefix: str = "simulate: ") -> NoReturn:
    """End the job with an error line and a report that repeats it."""
    print(f"{prefix}{message}", file=sys.stderr, flush=True)
    write_report(code, message, 0, {})
    sys.exit(code)


def one_line(error: Exception) -> str:
    """Return the text of an error without its line breaks."""
    return " ".join(str(error).split())


def say(text: str) -> None:
    """Print one progress line at once, so that a live log shows it."""
    print(f"simulate: {text}", flush=True)


def expected_size(header: bytes) -> int | None:
    """Return the size that a ROOT file's header promises (its field fEND)."""
    if len(header) < 20 or header[:4] != b"root":
        return None
    version = struct.unpack_from(">i", header, 4)[0]
    # Files of 2 GB and more carry a version above 1,000,000 and 64-bit fields.
    return struct.unpack_from(">q" if version >= 1_000_000 else ">i", header, 12)[0]


def read_events(path: Path, name: str) -> tuple[ak.Array, dict[str, float]]:
    """Read the generated events of `path`; `name` is used in messages."""
    if not path.is_file():
        fail(EXIT_NO_INPUT, f"no input file {name}")
    size = path.stat().st_size
    with path.open("rb") as stream:
        expected = expected_size(stream.read(64))
    try:
        with uproot.open(path) as file:
            return file["MCEvents"].arrays(["event", *READ]), file["RunInfo"].arrays()[0].tolist()
    except Exception as error:  # a broken file raises whatever its bytes lead to
        if expected is not None and size < expected:
            # Word for word what ROOT prints, so that log scanners know it.
            fail(
                EXIT_BAD_INPUT,
                f"file {name} is truncated at {size} bytes: should be {expected}, trying to recover",
                prefix="Error in <TFile::Init>: ",
            )
        fail(EXIT_BAD_INPUT, f"cannot read {name}: {one_line(error)}")


def read_truncated(path: Path) -> NoReturn:
    """Read a copy of the input that ends early, as from a broken storage."""
    if not path.is_file():
        fail(EXIT_NO_INPUT, f"no input file {path}")
    data = path.read_bytes()
    half = len(data) // 2
    with tempfile.TemporaryDirectory(dir=".") as folder:
        copy = Path(folder) / path.name
        # Storages lose whole blocks, not single bytes.
        copy.write_bytes(data[: half // 4096 * 4096 or half])
        read_events(copy, path.name)
    fail(EXIT_BAD_INPUT, f"the truncated copy of {path} could be read")


def checksum(columns: dict[str, np.ndarray]) -> int:
    """Return the CRC-32 of the tracks; reconstruct.py computes it again."""
    crc = 0
    for name in CHECKED:
        crc = zlib.crc32(np.ascontiguousarray(columns[name], dtype="<f4").tobytes(), crc)
    return crc


def simulate(events: ak.Array, rng: np.random.Generator) -> tuple[dict, np.ndarray, dict]:
    """Return the primary vertices, the tracks per event and the tracks."""
    c = CONSTANTS
    flat = {name: ak.to_numpy(ak.flatten(events[name])).astype(np.float64) for name in READ}
    owner = np.repeat(np.arange(len(events)), ak.to_numpy(ak.num(events["px"])))

    spread = (c["beam_spot_xy_mm"], c["beam_spot_xy_mm"], c["beam_spot_z_mm"])
    collision = rng.normal(0.0, spread, (len(events), 3))
    measured = collision + rng.normal(0.0, c["vertex_resolution_mm"], collision.shape)
    vertices = dict(zip(("pv_x", "pv_y", "pv_z"), measured.T.astype(np.float32)))

    momentum = np.stack([flat["px"], flat["py"], flat["pz"]], axis=1)
    # The generator places every collision at the origin.
    birth = np.stack([flat["vx"], flat["vy"], flat["vz"]], axis=1) + collision[owner]
    pt = np.hypot(flat["px"], flat["py"])
    seen = (
        (pt > c["pt_min_gev"])
        & (pt > np.tan(np.radians(c["theta_min_deg"])) * np.abs(flat["pz"]))
        & (np.hypot(birth[:, 0], birth[:, 1]) < c["radius_max_mm"])
        & (np.abs(birth[:, 2]) < c["z_max_mm"])
        & (rng.random(len(pt)) < c["efficiency"])
    )
    momentum, birth, owner = momentum[seen], birth[seen], owner[seen]

    size = np.linalg.norm(momentum, axis=1, keepdims=True)
    direction = momentum / size
    # Two unit vectors across the track; acceptance keeps it off the beam axis.
    across = np.cross(direction, [0.0, 0.0, 1.0])
    across /= np.linalg.norm(across, axis=1, keepdims=True)
    other = np.cross(direction, across)

    point = birth + direction * rng.uniform(c["first_hit_min_mm"], c["first_hit_max_mm"], size.shape)
    point += rng.normal(0.0, c["point_resolution_mm"], point.shape)
    angle = 1e-3 * np.hypot(c["angle_resolution_mrad"], c["scattering_mrad_gev"] / size)
    direction = direction + rng.normal(size=size.shape) * angle * across + rng.normal(size=size.shape) * angle * other
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    relative = np.hypot(c["momentum_resolution"], c["momentum_resolution_per_gev"] * size)
    momentum = direction * size * (1.0 + relative * rng.normal(size=size.shape))

    tracks = dict(zip(("px", "py", "pz", "x", "y", "z"), np.hstack([momentum, point]).T.astype(np.float32)))
    tracks["charge"] = flat["charge"][seen].astype(np.int32)
    tracks["pdg"] = flat["pdg"][seen].astype(np.int32)
    return vertices, np.bincount(owner, minlength=len(events)), tracks


def write(args: argparse.Namespace, head: dict, counts: np.ndarray, tracks: dict, parameters: dict) -> None:
    """Write the data file and the parameter file."""
    jagged = ak.unflatten(ak.Array(tracks), counts)
    with uproot.recreate(args.output, compression=uproot.ZLIB(4)) as file:
        types = {name: value.dtype for name, value in head.items()} | {"tracks": jagged.type.content}
        # One shared counter, and branches named by the quantity alone.
        tree = file.mktree(
            "SimEvents", types, counter_name=lambda _: "n_tracks", field_name=lambda _, inner: inner
        )
        tree.extend(head | {"tracks": jagged})
    with uproot.recreate(args.parameters) as file:
        row = {name: np.array([value]) for name, value in parameters.items()}
        file.mktree("Parameters", {name: value.dtype for name, value in row.items()}).extend(row)


def seed_number(text: str) -> int:
    """Parse a random seed for argparse."""
    value = int(text)
    if not 0 <= value <= 2**62:
        raise argparse.ArgumentTypeError(f"{value} is not a seed (0 .. 2^62)")
    return value


def main() -> None:
    """Run the step."""
    parser = argparse.ArgumentParser(description="Simulate a simple SPD-like tracker.", allow_abbrev=False)
    parser.add_argument("--input", required=True, help="ROOT file of the generator step")
    parser.add_argument("--seed", type=seed_number, required=True, help="random seed")
    parser.add_argument("--output", required=True, help="data file to write")
    parser.add_argument("--parameters", required=True, help="parameter file to write")
    parser.add_argument("--part", type=int, default=0, help="which job of the task this is")
    parser.add_argument("--attempt", type=int, default=1, help="which attempt of the job this is")
    parser.add_argument(
        "--fault", metavar="PART:ATTEMPT", default="", help="imitate a truncated input file in this attempt of this part"
    )
    args = parser.parse_args()

    if args.fault == f"{args.part}:{args.attempt}":
        read_truncated(Path(args.input))
    events, info = read_events(Path(args.input), args.input)
    say(f"{len(events)} events from {args.input}, seed {args.seed}")
    # The step number keeps this stream apart from the generator's, which may
    # have been given the same seed.
    vertices, counts, tracks = simulate(events, np.random.default_rng((args.seed, STEP)))
    head = {"event": ak.to_numpy(events["event"])} | vertices
    parameters = info | {
        "seed": args.seed,
        "beam_energy_gev": info["sqrt_s_gev"] / 2.0,
        "n_tracks": len(tracks["px"]),
        "data_checksum": checksum(tracks),
    }
    try:
        write(args, head, counts, tracks, parameters | CONSTANTS)
    except OSError as error:
        fail(74, f"cannot write: {error}")
    write_report(0, "OK", len(events), {args.output: len(events), args.parameters: 1})
    say(f"wrote {args.output} and {args.parameters}: {counts.sum()} tracks, {Path(args.output).stat().st_size} bytes")


if __name__ == "__main__":
    main()
