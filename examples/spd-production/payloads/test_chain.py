#!/usr/bin/env python3
"""Test of the payload scripts: run the chain once, on a small sample.

Needs the packages of requirements.txt; run it as ``python test_chain.py``.
"""

import json
import re
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import awkward as ak
import numpy as np
import uproot

SCRIPTS = Path(__file__).resolve().parent
EVENTS = 400


class ChainTest(unittest.TestCase):
    """Runs two jobs of each production step and one analysis."""

    folder: Path

    @classmethod
    def setUpClass(cls) -> None:
        temporary = tempfile.TemporaryDirectory(prefix="spd-chain-")
        cls.addClassCleanup(temporary.cleanup)
        cls.folder = Path(temporary.name)
        # Runs 1 and 2 differ in both seeds; "same" repeats run 1.
        for name, seed in (("1", 101), ("2", 102), ("same", 101)):
            cls.check(
                "generate.py", "--seed", seed, "--events", EVENTS, "--first-event", 7, "--output", f"gen{name}.root"
            )
            cls.check(
                "simulate.py", "--input", f"gen{name}.root", "--seed", seed + 50,
                "--output", f"sim{name}.root", "--parameters", f"par{name}.root",
            )  # fmt: skip
            cls.check(
                "reconstruct.py", "--input", f"sim{name}.root",
                "--parameters", f"par{name}.root", "--output", f"reco{name}.root",
            )  # fmt: skip

    @classmethod
    def run_script(cls, script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
        """Run one script in the test's folder, without a job report there."""
        (cls.folder / "jobReport.json").unlink(missing_ok=True)
        command = [sys.executable, str(SCRIPTS / script), *map(str, arguments)]
        return subprocess.run(command, cwd=cls.folder, capture_output=True, text=True, timeout=120, check=False)

    @classmethod
    def check(cls, script: str, *arguments: object) -> dict:
        """Run one script that must succeed and return its job report."""
        result = cls.run_script(script, *arguments)
        if result.returncode != 0:
            raise AssertionError(f"{script} ended with {result.returncode}: {result.stderr}")
        return json.loads((cls.folder / "jobReport.json").read_text())

    def tree(self, file: str, name: str) -> ak.Array:
        """Read a whole tree."""
        with uproot.open(self.folder / file) as opened:
            return opened[name].arrays()

    def same(self, first: str, second: str, tree: str) -> bool:
        """Say whether two files hold the same values, bit by bit."""
        a, b = self.tree(first, tree), self.tree(second, tree)
        return a.fields == b.fields and all(a[key].tolist() == b[key].tolist() for key in a.fields)

    def refused(self, code: int, script: str, *arguments: object) -> str:
        """Run one script that must fail; return its message."""
        result = self.run_script(script, *arguments)
        self.assertEqual(result.returncode, code, result.stderr)
        report = json.loads((self.folder / "jobReport.json").read_text())
        self.assertEqual(report["exitCode"], code)
        self.assertIn(report["exitMsg"], result.stderr)
        return result.stderr

    def test_generated_events(self) -> None:
        events = self.tree("gen1.root", "MCEvents")
        tracks = {"pdg", "charge", "px", "py", "pz", "vx", "vy", "vz", "parent_pdg"}
        self.assertLessEqual({"event", *tracks}, set(events.fields))
        self.assertEqual(events["event"].tolist(), list(range(7, 7 + EVENTS)))
        flat = {key: ak.to_numpy(ak.flatten(events[key])) for key in tracks}
        distance = np.sqrt(flat["vx"] ** 2 + flat["vy"] ** 2 + flat["vz"] ** 2)
        for parent in (310, 3122):  # decay lengths are centimetres and more
            children = distance[flat["parent_pdg"] == parent]
            self.assertGreater(len(children), 10)
            self.assertGreater(np.median(children), 5.0)
        self.assertEqual(np.median(distance), 0.0)

    def test_simulated_tracks(self) -> None:
        events = self.tree("sim1.root", "SimEvents")
        wanted = {"event", "pv_x", "pv_y", "pv_z", "charge", "px", "py", "pz", "x", "y", "z"}
        self.assertLessEqual(wanted, set(events.fields))
        self.assertNotIn("parent_pdg", events.fields)
        self.assertEqual(len(events), EVENTS)
        parameters = self.tree("par1.root", "Parameters")
        self.assertEqual(len(parameters), 1)
        row = parameters[0].tolist()
        self.assertEqual((row["seed"], row["generator_seed"], row["n_events"]), (151, 101, EVENTS))
        self.assertEqual(row["beam_energy_gev"], 13.5)
        self.assertIn("momentum_resolution", row)

    def test_candidates(self) -> None:
        candidates = self.tree("reco1.root", "V0")
        wanted = {"event", "mass_k0s", "mass_lambda", "mass_antilambda", "flight_mm", "dca_mm", "cos_pointing", "pt"}
        self.assertLessEqual(wanted, set(candidates.fields))
        masses = ak.to_numpy(candidates["mass_k0s"])
        self.assertGreater(np.count_nonzero(abs(masses - 0.4976) < 0.015), 20)
        self.assertEqual(self.tree("reco1.root", "RunInfo")["n_events"].tolist(), [EVENTS])

    def test_seeds(self) -> None:
        for file, tree in (("gen", "MCEvents"), ("sim", "SimEvents"), ("par", "Parameters"), ("reco", "V0")):
            with self.subTest(tree):
                self.assertTrue(self.same(f"{file}1.root", f"{file}same.root", tree))
                self.assertFalse(self.same(f"{file}1.root", f"{file}2.root", tree))

    def test_simulation_has_its_own_seed(self) -> None:
        report = self.check(
            "simulate.py", "--input", "gen1.root", "--seed", 999, "--output", "s.root", "--parameters", "p.root"
        )
        self.assertFalse(self.same("sim1.root", "s.root", "SimEvents"))
        files = [output["subFiles"][0] for output in report["files"]["output"]]
        self.assertEqual([file["name"] for file in files], ["s.root", "p.root"])
        self.assertEqual([file["nentries"] for file in files], [EVENTS, 1])
        for file in files:
            self.assertEqual(file["file_size"], (self.folder / file["name"]).stat().st_size)
        self.assertEqual((report["exitCode"], report["exitMsg"], report["nEvents"]), (0, "OK", EVENTS))

    def test_foreign_parameters_are_refused(self) -> None:
        message = self.refused(
            67, "reconstruct.py", "--input", "sim1.root", "--parameters", "par2.root", "--output", "no.root"
        )
        self.assertIn("par2.root does not belong to data file sim1.root", message)
        self.assertFalse((self.folder / "no.root").exists())

    def test_fault_imitates_a_truncated_file(self) -> None:
        message = self.refused(
            65, "simulate.py", "--input", "gen1.root", "--seed", 1,
            "--output", "no.root", "--parameters", "nopar.root", "--part", 3, "--attempt", 1, "--fault", "3:1",
        )  # fmt: skip
        found = re.fullmatch(
            r"Error in <TFile::Init>: file gen1\.root is truncated at (\d+) bytes: "
            r"should be (\d+), trying to recover\n",
            message,
        )
        self.assertIsNotNone(found, message)
        self.assertEqual(int(found[2]), (self.folder / "gen1.root").stat().st_size)
        self.assertLess(int(found[1]), int(found[2]))
        self.assertFalse((self.folder / "no.root").exists())

    def test_fault_spares_other_attempts(self) -> None:
        self.check(
            "simulate.py", "--input", "gen1.root", "--seed", 1,
            "--output", "again.root", "--parameters", "againpar.root", "--part", 3, "--attempt", 2, "--fault", "3:1",
        )  # fmt: skip
        self.assertTrue((self.folder / "again.root").exists())

    def test_bad_inputs_are_refused(self) -> None:
        self.refused(66, "analyse.py", "--inputs", "absent.root", "--plot", "p.png", "--summary", "s.json")
        (self.folder / "short.root").write_bytes((self.folder / "sim1.root").read_bytes()[:9000])
        self.refused(65, "reconstruct.py", "--input", "short.root", "--parameters", "par1.root", "--output", "no.root")
        twice = "reco1.root,recosame.root"
        message = self.refused(65, "analyse.py", "--inputs", twice, "--plot", "p.png", "--summary", "s.json")
        self.assertIn("hold the same events", message)
        self.assertEqual(self.run_script("generate.py", "--seed", "x").returncode, 2)

    def test_analysis(self) -> None:
        inputs = "reco1.root,reco2.root"
        self.check("analyse.py", "--inputs", inputs, "--plot", "peaks.png", "--summary", "summary.json")
        self.assertEqual((self.folder / "peaks.png").read_bytes()[:8], b"\x89PNG\r\n\x1a\n")
        summary = json.loads((self.folder / "summary.json").read_text())
        self.assertEqual((summary["events"], summary["files"]), (2 * EVENTS, 2))
        # A sample this small shows a peak near the right place, not more.
        self.assertAlmostEqual(summary["k0s_mev"], 497.6, delta=6.0)
        self.assertAlmostEqual(summary["lambda_mev"], 1115.7, delta=6.0)
        for key in ("k0s_error_mev", "k0s_candidates", "lambda_error_mev", "lambda_candidates"):
            self.assertGreater(summary[key], 0)


if __name__ == "__main__":
    unittest.main()
