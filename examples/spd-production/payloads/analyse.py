#!/usr/bin/env python3
"""Step 4: merge the reconstructed candidates and fit the mass peaks.

Draws the K0s -> pi+ pi- and the Lambda -> p pi- peak side by side into one
PNG and writes the fitted positions [MeV] and yields to a JSON summary.
"""

import argparse
import json
import math
import os
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

# One job has one core. Must be set before numpy is imported.
for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")
# matplotlib keeps a font cache; a job may write to its own directory only.
os.environ["MPLCONFIGDIR"] = os.getcwd()
os.environ["MPLBACKEND"] = "Agg"

import numpy as np
import uproot
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.optimize import curve_fit

EXIT_BAD_INPUT = 65
EXIT_NO_INPUT = 66

MAX_DCA_MM = 1.0  # between the two tracks
MIN_FLIGHT_MM = 4.0
MIN_COS_POINTING = 0.99

INK, SIGNAL, BACKGROUND, MUTED = "#1d2733", "#d1495b", "#2f6fa8", "#8a94a0"


@dataclass(frozen=True)
class Peak:
    """What to histogram, and where the peak is expected. Units: MeV."""

    key: str  # branch of the V0 tree is mass_<key>; prefix in the summary
    decay: str
    pair: str
    low: float
    high: float
    bin_width: float
    known: float  # world average, drawn for comparison
    resolution: float  # expected, starts the fit


@dataclass(frozen=True)
class Result:
    """A fitted peak. Units: MeV; the yield is a number of decays."""

    mean: float
    error: float
    sigma: float
    decays: float
    converged: bool
    values: tuple[float, ...]  # of the fit function; empty without a fit


PEAKS = (
    Peak("k0s", r"$K^0_S \rightarrow \pi^+\pi^-$", r"\pi^+\pi^-", 440.0, 556.0, 2.0, 497.611, 5.0),
    Peak("lambda", r"$\Lambda \rightarrow p\,\pi^-$", r"p\,\pi^-", 1090.0, 1142.0, 1.0, 1115.683, 2.0),
)


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
    print(f"analyse: {message}", file=sys.stderr, flush=True)
    write_report(code, message, 0, {})
    sys.exit(code)


def one_line(error: Exception) -> str:
    """Return the text of an error without its line breaks."""
    return " ".join(str(error).split())


def say(text: str) -> None:
    """Print one progress line at once, so that a live log shows it."""
    print(f"analyse: {text}", flush=True)


def read(paths: list[str]) -> tuple[dict[str, np.ndarray], int, float]:
    """Merge the files: return the selected masses [MeV], events and sqrt(s) [GeV]."""
    masses: dict[str, list[np.ndarray]] = {peak.key: [] for peak in PEAKS}
    energies: set[float] = set()
    seen: dict[tuple[int, int], str] = {}
    events = 0
    for path in paths:
        if not Path(path).is_file():
            fail(EXIT_NO_INPUT, f"no input file {path}")
        try:
            with uproot.open(path) as file:
                info = file["RunInfo"].arrays(library="np")
                v0 = file["V0"].arrays(library="np")
        except Exception as error:  # a broken file raises whatever its bytes lead to
            fail(EXIT_BAD_INPUT, f"cannot read {path}: {one_line(error)}")
        # The same events twice would make every error bar too small.
        run = (int(info["generator_seed"][0]), int(info["first_event"][0]))
        if run in seen:
            fail(EXIT_BAD_INPUT, f"{path} and {seen[run]} hold the same events (seed {run[0]}, first event {run[1]})")
        seen[run] = path
        events += int(info["n_events"][0])
        energies.add(float(info["sqrt_s_gev"][0]))
        good = (
            (v0["dca_mm"] < MAX_DCA_MM)
            & (v0["flight_mm"] > MIN_FLIGHT_MM)
            & (v0["cos_pointing"] > MIN_COS_POINTING)
        )
        masses["k0s"].append(1e3 * v0["mass_k0s"][good])
        # The proton takes most of the momentum of a Lambda that flies.
        masses["lambda"].append(1e3 * v0["mass_lambda"][good & (v0["asymmetry"] > 0)])
    if len(energies) != 1:
        fail(EXIT_BAD_INPUT, f"the files mix the energies {sorted(energies)} GeV")
    return {key: np.concatenate(parts) for key, parts in masses.items()}, events, energies.pop()


def background(x: np.ndarray, peak: Peak, b0: float, b1: float, b2: float) -> np.ndarray:
    """Return a parabola in the position within the window, -1 to 1."""
    u = (2.0 * x - peak.low - peak.high) / (peak.high - peak.low)
    return b0 + b1 * u + b2 * u**2


def gaussian(x: np.ndarray, peak: Peak, decays: float, mean: float, sigma: float) -> np.ndarray:
    """Return the decays per bin of a normal distribution."""
    return decays * peak.bin_width / (np.sqrt(2.0 * np.pi) * sigma) * np.exp(-0.5 * ((x - mean) / sigma) ** 2)


def fit(peak: Peak, centres: np.ndarray, counts: np.ndarray) -> Result:
    """Fit a Gaussian on a parabola to one histogram."""

    def model(x: np.ndarray, *values: float) -> np.ndarray:
        return gaussian(x, peak, *values[:3]) + background(x, peak, *values[3:])

    near = np.abs(centres - peak.known) < 4.0 * peak.resolution
    level = counts[~near].mean()
    excess = max((counts[near] - level).sum(), 0.0)
    start = [excess, peak.known, peak.resolution, level, 0.0, 0.0]
    lower = [0.0, peak.low, peak.bin_width / 4.0, -np.inf, -np.inf, -np.inf]
    upper = [np.inf, peak.high, (peak.high - peak.low) / 4.0, np.inf, np.inf, np.inf]
    # Errors from the counts pull towards bins that fluctuated low; a second
    # pass takes them from the first fit.
    errors = np.sqrt(np.maximum(counts, 1.0))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # an unknown covariance is a failure
            for _ in range(2):
                values, covariance = curve_fit(
                    model, centres, counts, p0=start, sigma=errors, absolute_sigma=True, bounds=(lower, upper)
                )
                start, errors = values, np.sqrt(np.maximum(model(centres, *values), 1.0))
        decays, mean, sigma = (float(value) for value in values[:3])
        error = float(np.sqrt(covariance[1, 1]))
        significant = decays > 3.0 * float(np.sqrt(covariance[0, 0]))
        if significant and 0.0 < error < sigma and abs(mean - peak.known) < 5.0 * peak.resolution:
            return Result(mean, error, sigma, decays, True, tuple(values))
    except (RuntimeError, ValueError, RuntimeWarning, UserWarning) as problem:
        say(f"fit of {peak.key} failed: {problem}")
    # No peak was measured: the mean of the window, with the window as its
    # error, so that nobody takes it for a measurement; nothing without entries.
    total = counts[near].sum()
    mean = float((counts[near] * centres[near]).sum() / total) if total else math.nan
    return Result(mean, 4.0 * peak.resolution if total else math.nan, math.nan, float(excess), False, ())


def number(value: float) -> float | None:
    """Return a number for JSON, which knows no NaN."""
    return round(value, 3) if math.isfinite(value) else None


def draw(axes: Axes, peak: Peak, centres: np.ndarray, counts: np.ndarray, result: Result) -> None:
    """Draw one peak with its fit."""
    x = np.linspace(peak.low, peak.high, 800)
    axes.errorbar(
        centres, counts, yerr=np.sqrt(counts), xerr=peak.bin_width / 2.0, fmt="o", markersize=3.8,
        color=INK, elinewidth=1.0, label=f"Candidates ({counts.sum():,.0f})", zorder=4,
    )  # fmt: skip
    if result.converged:
        below = background(x, peak, *result.values[3:])
        curve = below + gaussian(x, peak, *result.values[:3])
        fitted = f"Fit: $m = {result.mean:.2f} \\pm {result.error:.2f}$ MeV\n$\\sigma = {result.sigma:.1f}$ MeV"
        axes.plot(x, curve, color=SIGNAL, linewidth=2.0, label=fitted, zorder=3)
        axes.fill_between(
            x, below, curve, color=SIGNAL, alpha=0.15, linewidth=0,
            label=f"Signal: {result.decays:,.0f} decays",
        )  # fmt: skip
        axes.plot(x, below, color=BACKGROUND, linewidth=1.8, linestyle=(0, (5, 2)), label="Background", zorder=3)
    else:
        axes.plot([], [], " ", label="No significant peak, no fit")
    axes.axvline(peak.known, color=MUTED, linewidth=1.2, linestyle=":", label=f"PDG: {peak.known:.2f} MeV", zorder=1)
    axes.set_title(peak.decay, fontsize=15, pad=10)
    axes.set_xlim(peak.low, peak.high)
    axes.set_ylim(0.0, 1.12 * (counts + np.sqrt(counts)).max(initial=1.0))
    axes.set_xlabel(f"Invariant mass $m({peak.pair})$ [MeV]")
    axes.set_ylabel(f"Candidates / {peak.bin_width:g} MeV")
    # matplotlib lists points with error bars last; here they come first.
    handles, labels = axes.get_legend_handles_labels()
    axes.legend(
        handles[-1:] + handles[:-1], labels[-1:] + labels[:-1],
        frameon=False, fontsize=10, loc="upper left", handlelength=1.6, borderaxespad=0.9,
    )  # fmt: skip


STYLE = {
    "font.size": 11.5,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.direction": "in",
    "ytick.direction": "in",
    "xtick.major.pad": 7.0,
    "ytick.major.pad": 6.0,
    "xtick.top": True,
    "ytick.right": True,
    "xtick.minor.visible": True,
    "ytick.minor.visible": True,
    "mathtext.fontset": "dejavusans",
}


def main() -> None:
    """Run the step."""
    parser = argparse.ArgumentParser(description="Fit the K0s and Lambda mass peaks.", allow_abbrev=False)
    parser.add_argument("--inputs", required=True, help="reconstructed ROOT files, separated by commas")
    parser.add_argument("--plot", required=True, help="PNG file to write")
    parser.add_argument("--summary", required=True, help="JSON file to write")
    args = parser.parse_args()
    paths = args.inputs.split(",")
    if not all(paths):
        parser.error("--inputs has an empty file name")

    masses, events, sqrt_s = read(paths)
    say(f"{events} events from {len(paths)} files")
    summary: dict[str, object] = {"events": events, "files": len(paths)}
    with rc_context(STYLE):
        figure = Figure(figsize=(13.0, 5.6), layout="constrained")
        figure.get_layout_engine().set(w_pad=0.14, h_pad=0.12, wspace=0.03)
        title = f"SPD-like Monte Carlo, pp √s = {sqrt_s:g} GeV, {events:,} events"
        figure.suptitle(title, fontsize=16, weight="bold")
        for axes, peak in zip(figure.subplots(1, len(PEAKS)), PEAKS):
            bins = round((peak.high - peak.low) / peak.bin_width)
            counts, edges = np.histogram(masses[peak.key], bins=bins, range=(peak.low, peak.high))
            centres = 0.5 * (edges[1:] + edges[:-1])
            result = fit(peak, centres, counts.astype(np.float64))
            draw(axes, peak, centres, counts, result)
            say(f"{peak.key}: {result.mean:.2f} +- {result.error:.2f} MeV, {result.decays:.0f} decays")
            summary[f"{peak.key}_mev"] = number(result.mean)
            summary[f"{peak.key}_error_mev"] = number(result.error)
            summary[f"{peak.key}_candidates"] = round(result.decays)
            summary[f"{peak.key}_fit_converged"] = result.converged
        try:
            figure.savefig(args.plot, format="png", dpi=130)
            Path(args.summary).write_text(json.dumps(summary, indent=1) + "\n")
        except OSError as error:
            fail(74, f"cannot write the results: {error}")
    write_report(0, "OK", events, {args.plot: 1, args.summary: 1})
    say(f"wrote {args.plot} and {args.summary}")


if __name__ == "__main__":
    main()
