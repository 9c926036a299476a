#!/usr/bin/env python3
"""The payload scripts of tasks that prun submits: run, build and merge.

One file, served under three names; the name under which it is started says what it does:

    runGen-00-00-02     unpacks the sandbox, runs the user's command, hands over the outputs
    buildGen-00-00-01   unpacks the sources, runs the build command, packs lib.tgz
    runMerge-00-00-02   makes one file of many

It needs Python 3.6 and nothing else. The pilot starts it in the job's directory, where the inputs
are, and takes the outputs from there. What prun says is in the job's parameters; options of
other payload scripts that make no difference here are passed over.
"""

import ast
import base64
import fnmatch
import glob
import json
import os
import re
import shutil
import ssl
import subprocess
import sys
import tarfile
import time
import urllib.error
import urllib.parse
import urllib.request
import xml.etree.ElementTree

# Exit codes, as pilots and error catalogues know them.
MISSING_ARGUMENT = 10
NO_INPUT = 11
BUILD_FAILED = 20
NO_SOURCES = 30
NO_MERGE_PROGRAM = 80
MERGE_FAILED = 85
NO_MERGED_FILE = 102
BROKEN_ARCHIVE = 143
NO_SANDBOX = 146

# How often a sandbox is asked for, and the pause between [s].
FETCH_TRIES = 4
FETCH_PAUSE = 10
# Longest silence of the server [s].
FETCH_TIMEOUT = 120
# Largest metadata of a user that goes into the job report [bytes].
METADATA_MAX = 1024 * 1024
# The output in which a junction of a workflow says what follows, and its largest size [bytes].
RESULTS = "results.json"
RESULTS_MAX = 64 * 1024

WORK_FOLDER = "workDir"
MAIN_SCRIPT = "__run_main_exec.sh"
SECRETS = "panda_secrets.json"
SECRET_FILE = "___file___:"

# Options that are followed by a value, and those that stand alone.
WITH_VALUE = set(
    "i o r j l p u a t f sourceURL inMap writeInputToTxt bexec rootVer cmtConfig skipInputByRetry "
    "dbrFile dbrRun oldPrefix newPrefix lfcHost envvarFile liveLog inputGUIDs accessmode copytool "
    "overwriteQueuedata containerImage datadir workdir fileToSave fileToLoad libTgz outDS parentDS "
    "parentContainer jem-config".split()
)
# What only programs of one experiment can do.
UNSUPPORTED = ("useAthenaPackages", "useRootCore", "dbrFile")


class Failed(Exception):
    """The job cannot go on: an exit code and why."""

    def __init__(self, code, text):
        super().__init__(text)
        self.code = code


def say(text):
    print(text, flush=True)


def parse(words):
    """Returns options by name, with text or True as value, and the words that are no options."""
    options, others = {}, []
    words = list(words)
    while words:
        word = words.pop(0)
        if not re.match(r"--?[A-Za-z]", word):
            others.append(word)
            continue
        name, equals, value = word.lstrip("-").partition("=")
        if not equals and name in WITH_VALUE:
            if not words:
                raise Failed(MISSING_ARGUMENT, "option `%s` has no value" % word)
            value, equals = words.pop(0), "="
        options[name] = value if equals else True
    for name in UNSUPPORTED:
        if name in options:
            raise Failed(MISSING_ARGUMENT, "`--%s` is not supported by this script" % name)
    return options, others


def literal(options, name, default):
    """Reads a list or a map in Python's spelling."""
    text = options.get(name)
    if text in (None, ""):
        return default
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        raise Failed(MISSING_ARGUMENT, "`%s` is not readable: %s" % (name, text)) from None
    if not isinstance(value, type(default)):
        raise Failed(MISSING_ARGUMENT, "`%s` is of the wrong kind: %s" % (name, text))
    return value


def trust():
    """Returns what servers are trusted: the system's authorities and the grid's."""
    context = ssl.create_default_context()
    folder = os.environ.get("X509_CERT_DIR", "/etc/grid-security/certificates")
    if os.path.isdir(folder):
        context.load_verify_locations(capath=folder)
    if os.environ.get("PANDA_VERIFY_HOST") == "off":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def fetch(source, name, code):
    """Brings an archive from the server's cache into the current folder."""
    if os.path.exists(name):
        return
    url = "%s/cache/%s" % (source.rstrip("/"), urllib.parse.quote(name))
    reason = ""
    for attempt in range(FETCH_TRIES):
        if attempt:
            time.sleep(FETCH_PAUSE)
        try:
            with urllib.request.urlopen(url, timeout=FETCH_TIMEOUT, context=trust()) as answer:
                with open(name + ".part", "wb") as file:
                    shutil.copyfileobj(answer, file)
                announced = answer.headers.get("Content-Length")
            size = os.path.getsize(name + ".part")
            if announced is not None and int(announced) != size:
                raise OSError("%d bytes came of %s" % (size, announced))
            os.rename(name + ".part", name)
            say("fetched %s, %d bytes" % (url, size))
            return
        except urllib.error.HTTPError as error:
            reason = "HTTP code: %d - Reason: %s" % (error.code, error.reason)
            if error.code in (403, 404, 410):
                break
        except (OSError, ValueError) as error:
            reason = str(error)
        say("%s: %s" % (url, reason))
    say("ERROR: unable to fetch source tarball from web")
    raise Failed(code, "`%s` cannot be fetched: %s" % (url, reason))


def unpack(path, code):
    """Unpacks an archive into the current folder."""
    try:
        with tarfile.open(path) as archive:
            # Where Python knows it: nothing may leave the folder.
            extra = {"filter": "tar"} if hasattr(tarfile, "tar_filter") else {}
            archive.extractall(".", **extra)
    except (tarfile.TarError, OSError, EOFError) as error:
        raise Failed(code, "`%s` is corrupted: %s" % (path, error)) from None


def shell(command, environment):
    """Runs a user's command with its output going to ours. Returns its exit code."""
    say("=== execute ===\n%s" % command)
    program = "/bin/bash" if os.path.exists("/bin/bash") else "/bin/sh"
    code = subprocess.call([program, "-c", command], env=environment)
    # A death by signal is reported as shells do.
    return 128 - code if code < 0 else code


def into(folder):
    os.makedirs(folder, exist_ok=True)
    os.chdir(folder)


def take_secrets(job_folder):
    """Writes the user's secret files here and returns the other secrets."""
    path = os.path.join(job_folder, SECRETS)
    if not os.path.exists(path):
        return {}
    with open(path) as file:
        secrets = json.load(file) or {}
    variables = {}
    for name, value in secrets.items():
        if name.startswith(SECRET_FILE):
            target = os.path.basename(name[len(SECRET_FILE) :])
            with open(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(base64.b64decode(value))
        else:
            variables[name] = str(value)
    os.replace(path, SECRETS)
    return variables


def remote_places(job_folder):
    """Returns the URLs of inputs that the pilot left at their storage, by name."""
    places = {}
    try:
        tree = xml.etree.ElementTree.parse(os.path.join(job_folder, "PoolFileCatalog.xml"))
    except (OSError, xml.etree.ElementTree.ParseError):
        return places
    for entry in tree.iter("File"):
        physical = entry.find("./physical/pfn")
        logical = entry.find("./logical/lfn")
        if physical is None:
            continue
        url = physical.get("name", "")
        name = logical.get("name") if logical is not None else None
        if not name:
            name = re.sub(r"\?.*$", "", url).split("/")[-1]
        places[name.split(":")[-1]] = url
    return places


def present_inputs(names, job_folder):
    """Links the inputs into the current folder. Returns how the command is to name each."""
    remote = remote_places(job_folder)
    found = {}
    for name in names:
        here = os.path.join(job_folder, name)
        if os.path.exists(here):
            if not os.path.lexists(name):
                os.symlink(here, name)
            found[name] = name
        elif name in remote:
            found[name] = remote[name]
        else:
            say("input `%s` is not there" % name)
    if names and not found:
        raise Failed(NO_INPUT, "no input file is available")
    return found


def with_inputs(command, options, streams, found):
    """Puts the names of the inputs into the command, and into the files that are asked for."""
    files = dict(
        item.split(":", 1) for item in options.get("writeInputToTxt", "").split(",") if ":" in item
    )
    # Longer names first, so that `%IN2` is not taken for `%IN`.
    for stream in sorted(streams, key=len, reverse=True):
        text = ",".join(found[name] for name in streams[stream] if name in found)
        command = command.replace("%" + stream, text)
        if stream in files:
            with open(files[stream], "w") as file:
                file.write(text)
    return command


def with_real_names(command, outputs):
    """Has the command write outputs under their final names."""
    renamed = {}
    for name, final in outputs.items():
        if not re.search(r"[*|]", name):
            pattern = r"(?P<a>[= \"'>])%s(?P<b>[ \"',;]|$)" % re.escape(name)
            changed = re.sub(pattern, r"\g<a>%s\g<b>" % final.replace("\\", r"\\"), command)
            if changed != command:
                command, name = changed, final
        renamed[name] = final
    return command, renamed


def hand_over(outputs, job_folder):
    """Moves outputs from the current folder to where the pilot looks for them."""
    for name, final in outputs.items():
        if name.startswith("regex|"):
            pattern = re.compile(name[len("regex|") :])
            for match in [entry for entry in os.listdir(".") if pattern.fullmatch(entry)]:
                shutil.move(match, os.path.join(job_folder, match))
        elif "*" in name:
            matches = sorted(glob.glob(name))
            if matches:
                with tarfile.open(os.path.join(job_folder, final), "w:gz") as archive:
                    for match in matches:
                        archive.add(match)
        elif os.path.exists(name):
            shutil.move(name, os.path.join(job_folder, final))
        else:
            say("output `%s` is not there" % name)
    for pattern in ("jobReport.json", "runargs.*", "runwrapper.*", "log.*"):
        for name in fnmatch.filter(os.listdir("."), pattern):
            shutil.move(name, os.path.join(job_folder, name))


def add_to_report(key, name, largest):
    """Puts a file that the user's program wrote into the job report."""
    if not os.path.exists(name):
        return
    if os.path.getsize(name) > largest:
        say("WARNING: `%s` is larger than %d bytes and left out" % (name, largest))
        return
    report = {}
    try:
        with open(name) as file:
            content = json.load(file)
        if os.path.exists("jobReport.json"):
            with open("jobReport.json") as file:
                report = json.load(file)
    except ValueError as error:
        say("WARNING: `%s` is no JSON and left out: %s" % (name, error))
        return
    report.setdefault("reportVersion", "1.0.0")
    report[key] = content
    with open("jobReport.json", "w") as file:
        json.dump(report, file)


def add_metadata(outputs):
    """Puts what the user's program wrote about its run into the job report, and what follows in a
    workflow if it was to decide that."""
    add_to_report("user_job_metadata", "userJobMetadata.json", METADATA_MAX)
    if RESULTS in outputs:
        add_to_report("junction_results", RESULTS, RESULTS_MAX)


def user_environment(work_folder, secrets):
    environment = dict(os.environ, TestArea=work_folder, **secrets)
    environment["PATH"] = ".:" + environment.get("PATH", os.defpath)
    return environment


def needed(options, *names):
    for name in names:
        if name not in options:
            raise Failed(MISSING_ARGUMENT, "option `-%s` is missing" % name)


def sandbox(options, job_folder):
    """Unpacks what the user sent along, built or not, into the current folder."""
    libraries, archive = options.get("l", ""), options.get("a", "")
    if libraries:
        unpack(os.path.join(job_folder, libraries), BROKEN_ARCHIVE)
    elif archive:
        there = os.path.join(job_folder, archive)
        if os.path.exists(there):
            archive = there
        elif "noTarballDownload" in options:
            raise Failed(NO_SANDBOX, "archive `%s` did not come with the inputs" % archive)
        else:
            needed(options, "sourceURL")
            fetch(options["sourceURL"], archive, NO_SANDBOX)
        unpack(archive, BROKEN_ARCHIVE)


def run(options, job_folder):
    """Runs the user's command."""
    needed(options, "r", "p")
    work_folder = os.path.join(job_folder, WORK_FOLDER)
    outputs = literal(options, "o", {})
    if "postprocess" in options:
        os.chdir(os.path.join(work_folder, options["r"]))
        add_metadata(outputs)
        hand_over(outputs, job_folder)
        return 0
    shutil.rmtree(work_folder, ignore_errors=True)
    into(work_folder)
    sandbox(options, job_folder)
    into(options["r"])
    secrets = take_secrets(job_folder)

    inputs = literal(options, "i", [])
    streams = literal(options, "inMap", {}) or {"IN": inputs}
    names = dict.fromkeys(inputs + [name for stream in streams.values() for name in stream])
    skipped = set(options.get("skipInputByRetry", "").split(","))
    names = [name for name in names if name not in skipped]
    if "givenPFN" in options:
        found = {name: name for name in names}
    else:
        found = present_inputs(names, job_folder)
    command = urllib.parse.unquote(options["p"])
    if names:
        command = with_inputs(command, options, streams, found)
    if "execWithRealFileNames" in options:
        command, outputs = with_real_names(command, outputs)
    script = urllib.parse.unquote(options.get("j", ""))
    command = (script + " " + command).strip()
    program = command.split()[0] if command.split() else ""
    if os.path.isfile(program):
        os.chmod(program, os.stat(program).st_mode | 0o111)

    if "preprocess" in options:
        write_main_script(command, secrets, job_folder)
        return 0
    code = shell(command, user_environment(work_folder, secrets))
    add_metadata(outputs)
    hand_over(outputs, job_folder)
    os.chdir(job_folder)
    if "debug" not in options:
        shutil.rmtree(work_folder, ignore_errors=True)
    return code


def write_main_script(command, secrets, job_folder):
    """Leaves the command to somebody who starts it in a container."""
    lines = ["cd '%s'" % os.path.relpath(os.getcwd(), job_folder), "export PATH=.:$PATH"]
    for name, value in secrets.items():
        lines.append("export %s='%s'" % (name, value.replace("'", "'\\''")))
    path = os.path.join(job_folder, MAIN_SCRIPT)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o700), "w") as file:
        file.write("\n".join(lines + [command, ""]))


def build(options, job_folder):
    """Makes the archive of built libraries, which the run jobs get as an input."""
    needed(options, "i", "o", "sourceURL")
    sources, libraries = options["i"], os.path.join(job_folder, options["o"])
    if "noTarballDownload" not in options:
        fetch(options["sourceURL"], sources, NO_SOURCES)
    work_folder = os.path.join(job_folder, WORK_FOLDER)
    shutil.rmtree(work_folder, ignore_errors=True)
    into(work_folder)
    unpack(os.path.join(job_folder, sources), NO_SOURCES)
    command = urllib.parse.unquote(options.get("bexec", ""))
    if command and "noCompile" not in options:
        into(options.get("r", "."))
        code = shell(command, user_environment(work_folder, {}))
        if code != 0:
            raise Failed(BUILD_FAILED, "the build command ended with exit code %d" % code)
        os.chdir(work_folder)
    with tarfile.open(libraries, "w:gz") as archive:
        for name in sorted(os.listdir(".")):
            archive.add(name)
    os.chdir(job_folder)
    shutil.rmtree(work_folder, ignore_errors=True)
    return 0


def merge(options, job_folder, groups):
    """Makes one file of each group `in1,in2,...:out`."""
    work_folder = os.path.join(job_folder, WORK_FOLDER)
    shutil.rmtree(work_folder, ignore_errors=True)
    into(work_folder)
    sandbox(options, job_folder)
    into(options.get("r", "."))
    command = urllib.parse.unquote(options.get("j", ""))
    environment = user_environment(work_folder, {})
    groups = [group.rsplit(":", 1) for group in groups if ":" in group]
    if not groups:
        raise Failed(MISSING_ARGUMENT, "nothing is named that could be merged")
    for inputs, output in groups:
        found = list(present_inputs(inputs.split(","), job_folder).values())
        if len(found) == 1 and ("mergeSingleFile" not in options or is_log(output)):
            shutil.copyfile(os.path.join(job_folder, found[0]), output)
        elif is_log(output):
            pack_all(found, output)
        else:
            merge_files(command, found, output, environment)
        if not os.path.exists(output):
            raise Failed(NO_MERGED_FILE, "merging made no file `%s`" % output)
        shutil.move(output, os.path.join(job_folder, output))
    os.chdir(job_folder)
    shutil.rmtree(work_folder, ignore_errors=True)
    return 0


def is_log(name):
    return re.search(r"log\.tgz(\.\d+)*$", name) is not None


def merge_files(command, inputs, output, environment):
    """Merges as the user says, else as the kind of the files asks for."""
    if command:
        if len(command.split()) == 1:
            command = "%s -o %s %s" % (command, output, " ".join(inputs))
        else:
            command = command.replace("%IN", '"%s"' % ",".join(inputs))
            command = command.replace("%OUT", '"%s"' % output)
    elif re.search(r"\.root(\.\d+)*$", inputs[0]):
        if shutil.which("hadd") is None:
            raise Failed(NO_MERGE_PROGRAM, "there is no `hadd` here: say how with --mergeScript")
        command = "hadd -f %s %s" % (output, " ".join(inputs))
    else:
        pack_all(inputs, output)
        return
    code = shell(command, environment)
    if code != 0:
        raise Failed(MERGE_FAILED, "the merge command ended with exit code %d" % code)


def pack_all(inputs, output):
    """Packs files into one archive; archives are packed with a folder for each."""
    with tarfile.open(output, "w:gz") as archive:
        for name in inputs:
            real = os.path.realpath(name)
            if not tarfile.is_tarfile(real):
                archive.add(real, arcname=os.path.basename(name))
                continue
            folder = re.sub(r"(\.log)?\.t(ar\.)?gz(\.\d+)*$", "", os.path.basename(name))
            with tarfile.open(real) as part:
                for member in part:
                    if member.isfile():
                        content = part.extractfile(member)
                        member.name = folder + "/" + member.name
                        archive.addfile(member, content)


def main():
    kind = os.path.basename(sys.argv[0])
    job_folder = os.getcwd()
    say("=== %s ===\n%s" % (kind, " ".join(sys.argv[1:])))
    try:
        options, others = parse(sys.argv[1:])
        if kind.startswith("build"):
            code = build(options, job_folder)
        elif kind.startswith("runMerge"):
            code = merge(options, job_folder, others)
        else:
            code = run(options, job_folder)
    except Failed as failure:
        say("ERROR : %s" % failure)
        code = failure.code
    if code:
        say("execute script: Running script failed : StatusCode=%d" % code)
    else:
        say("execute script: Running script was successful")
    return code


if __name__ == "__main__":
    sys.exit(main())
