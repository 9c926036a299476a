//! Reads what the worker node is and uses: /proc, disks, batch system.
