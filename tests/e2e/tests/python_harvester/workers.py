"""Plugins for Harvester: a worker is a process on this machine."""

import os
import signal
import subprocess

from pandaharvester.harvestercore.plugin_base import PluginBase
from pandaharvester.harvestercore.work_spec import WorkSpec
from pandaharvester.harvestersweeper.base_sweeper import BaseSweeper

PROCESSES = {}


class Submitter(PluginBase):
    def submit_workers(self, workspec_list):
        return [(self.start(worker), "") for worker in workspec_list]

    def start(self, worker):
        point = worker.get_access_point()
        os.makedirs(point, exist_ok=True)
        log = os.path.join(point, f"{worker.workerID}.out")
        command = [word.replace("{point}", point) for word in self.command]
        with open(log, "wb") as output:
            process = subprocess.Popen(command, cwd=point, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        PROCESSES[worker.workerID] = process
        worker.batchID = str(process.pid)
        worker.computingElement = "localhost"
        worker.set_log_file("stdout", log)
        return True


class Monitor(PluginBase):
    def check_workers(self, workspec_list):
        return True, [(status(PROCESSES.get(worker.workerID)), "") for worker in workspec_list]


def status(process):
    if process is None:
        return WorkSpec.ST_failed
    code = process.poll()
    if code is None:
        return WorkSpec.ST_running
    if code == 0:
        return WorkSpec.ST_finished
    return WorkSpec.ST_failed if code > 0 else WorkSpec.ST_cancelled


class Sweeper(BaseSweeper):
    def kill_worker(self, worker):
        process = PROCESSES.get(worker.workerID)
        if process is not None and process.poll() is None:
            process.send_signal(signal.SIGTERM)
        return True, ""

    def sweep_worker(self, worker):
        return True, ""
