#!/usr/bin/env python3
"""Make the small files of the tests: `make.py FOLDER`, with uproot, NumPy, h5py and zstd.

They are committed, because the tests of this crate need neither Python nor a disk.
"""

import gzip
import io
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import awkward as ak
import h5py
import numpy as np
import uproot

METHODS = {
    "plain": None,
    "zlib": uproot.ZLIB(1),
    "lz4": uproot.LZ4(1),
    "lzma": uproot.LZMA(1),
    "zstd": uproot.ZSTD(1),
}


def fill(tree, n_baskets: int, n_entries: int) -> None:
    """Write some baskets of numbers that compress, and of lists of them."""
    for nr in range(n_baskets):
        first = nr * n_entries
        counts = np.full(n_entries, 3)
        numbers = np.arange(first, first + n_entries, dtype=np.int32)
        lists = ak.unflatten(np.arange(3 * n_entries, dtype=np.float32) // 7, counts)
        tree.extend({"number": numbers, "hits": lists, "nhits": counts})


def make_tree(path: Path, compression) -> None:
    """Make one tree with two baskets in each of its branches."""
    with uproot.recreate(path, compression=compression) as file:
        types = {"number": np.int32, "hits": "var * float32"}
        fill(file.mktree("events", types, initial_basket_capacity=2), 2, 100)


def make_trees(path: Path) -> None:
    """Make trees at the top and in directories, one without entries, and a string."""
    with uproot.recreate(path, compression=uproot.ZLIB(1)) as file:
        types = {"number": np.int32, "hits": "var * float32"}
        fill(file.mktree("events", types, initial_basket_capacity=2), 2, 100)
        fill(file.mktree("run/deep/tracks", types, initial_basket_capacity=1), 1, 50)
        file.mktree("run/empty", {"x": np.float64}, initial_basket_capacity=1)
        file["run/note"] = "a string"


def make_ntuple(path: Path, compression) -> None:
    """Make an RNTuple with one cluster."""
    with uproot.recreate(path, compression=compression) as file:
        columns = {"x": np.arange(500, dtype=np.int32) // 5, "y": np.zeros(500)}
        file.mkrntuple("ntuple", ak.zip(columns, depth_limit=1))


def make_hdf5(folder: Path) -> None:
    """Make files with both kinds of superblocks, and with a block before it."""
    kinds = {"old": ("earliest", 0), "new": ("latest", 0), "user": ("latest", 512)}
    for name, (version, block) in kinds.items():
        path = folder / f"{name}.h5"
        with h5py.File(path, "w", libver=version, userblock_size=block) as file:
            file["rows"] = np.arange(12.0).reshape(3, 4)


def main(folder: Path) -> None:
    """Write all files."""
    for name, compression in METHODS.items():
        make_tree(folder / f"{name}.root", compression)
    make_trees(folder / "trees.root")
    make_ntuple(folder / "ntuple.root", uproot.ZSTD(1))
    make_ntuple(folder / "ntuple_plain.root", None)
    with uproot.recreate(folder / "no_tree.root") as file:
        file["note"] = "no tree"
    rows = np.arange(30, dtype=np.float64).reshape(5, 6)
    np.save(folder / "rows.npy", rows)
    np.savez(folder / "rows.npz", rows=rows, flags=np.array([True, False]))
    make_hdf5(folder)
    np.savez_compressed(folder / "packed.npz", rows=rows)
    text = b"".join(b"line %d of a member\n" % nr for nr in range(40))
    (folder / "member.gz").write_bytes(gzip.compress(text, mtime=0))
    plain = folder / "frames.txt"
    plain.write_bytes(text)
    subprocess.run(["zstd", "--rm", "-q", "-f", "-o", folder / "frames.zst", plain], check=True)
    with zipfile.ZipFile(folder / "members.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.txt", text)
        archive.writestr("folder/b.txt", b"")
    with tarfile.open(folder / "members.tar", "w", format=tarfile.PAX_FORMAT) as archive:
        for name, content in {"a.txt": text, "folder/b.txt": b""}.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
