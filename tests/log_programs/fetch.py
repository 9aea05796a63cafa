"""The programs of others that tests need, from Debian's packages, without installing any:

    fetch.py FOLDER             fetches what it can: FOLDER/bin has a command for each, FOLDER/fetched names them, and
                                FOLDER/stamp says it is done
    fetch.py FOLDER PROGRAM     exits with 77 and says why if neither FOLDER/bin nor the PATH has the program

They are unpacked side by side (installed, rsyslog and syslog-ng exclude each other) and need no root. What the
machine's package lists do not know is looked for with fresh lists of our own.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

SKIPPED = 77
PATIENCE = 60  # seconds for one command


class Program(NamedTuple):
    packages: str
    path: str  # in the packages; {root} of the options is where they are unpacked
    options: str
    version: str  # the option that has it tell its version


PROGRAMS = {
    "rsyslogd": Program("rsyslog rsyslog-openssl", "usr/sbin/rsyslogd", "-M {root}/usr/lib/*/rsyslog", "-v"),
    "syslog-ng": Program(
        "syslog-ng-core", "usr/sbin/syslog-ng", "--module-path {root}/usr/lib/syslog-ng/[0-9]*", "--version"
    ),
    "lognormalizer": Program("liblognorm-utils", "usr/bin/lognormalizer", "", "-V"),
    "logrotate": Program("logrotate", "usr/sbin/logrotate", "", "--version"),
    # The browser without its windows: half as large, and without the libraries of a desktop.
    "chromium": Program(
        "chromium-headless-shell chromium-common", "usr/lib/chromium/chromium-headless-shell", "", "--version"
    ),
    "strace": Program("strace", "usr/bin/strace", "", "--version"),
}


class Fault(Exception):
    pass


def run(*command: str | Path, where: Path | None = None, accepted: tuple[int, ...] = (0,)) -> str:
    try:
        nothing = subprocess.DEVNULL  # Whatever might ask something gets no answer.
        done = subprocess.run(command, cwd=where, stdin=nothing, capture_output=True, text=True, timeout=PATIENCE)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Fault(str(error)) from error
    if done.returncode not in accepted:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise Fault(f"{command[0]}: {said[-1] if said else done.returncode}")
    return done.stdout or done.stderr


def version(program: str | Path, name: str) -> str:
    # lognormalizer ends with 1 when it has told its version; a program that lacks a library ends with 127.
    return run(program, PROGRAMS[name].version, accepted=(0, 1)).splitlines()[0]


class Fetcher:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root, self.debs, self.bin = (folder / name for name in ("root", "packages", "bin"))
        self.unpacked: set[str] = set()
        cache = folder / "cache"
        for made in (self.root, self.debs, self.bin, cache / "archives/partial"):
            made.mkdir(parents=True)
        # Without the change of user that apt makes as root: nobody else can write into the folder.
        settings = ["APT::Sandbox::User=root", "Acquire::Retries=1", "Acquire::http::Timeout=10"]
        # With a cache, so that the lists are read once and not by each command.
        settings += [f"Dir::Cache={cache}", *(f"Dir::Cache::{name}={name}.bin" for name in ("pkgcache", "srcpkgcache"))]
        self.apt = ["apt-get", "-qq", *(word for setting in settings for word in ("-o", setting))]

    def use_fresh_lists(self) -> None:
        status = run("apt-config", "shell", "STATUS", "Dir::State::status/f").strip().removeprefix("STATUS=").strip("'")
        lists = self.folder / "state/lists"
        (lists / "partial").mkdir(parents=True)
        self.apt += ["-o", f"Dir::State={lists.parent}", "-o", f"Dir::State::status={status}"]
        run(*self.apt, "update")  # which also succeeds when nothing could be reached
        if not any(lists.glob("*Packages*")):
            raise Fault("apt-get update brought none")

    def fetch(self, name: str) -> None:
        program = PROGRAMS[name]
        packages = program.packages.split()
        # What an installation would bring that this machine does not have.
        plan = run(*self.apt, "--simulate", "--no-install-recommends", "install", *packages)
        brought = {words[1] for words in map(str.split, plan.splitlines()) if words[:1] == ["Inst"]}
        wanted = {*packages, *brought} - self.unpacked
        if wanted:
            run(*self.apt, "download", *sorted(wanted), where=self.debs)
        for package in self.debs.iterdir():
            run("dpkg", "-x", package, self.root)
            package.unlink()
        self.unpacked |= wanted
        self.write_command(name, program)
        version(self.bin / name, name)
        if name == "strace":  # In some containers no process may trace another.
            run(self.bin / name, "-o", "/dev/null", "true")

    def write_command(self, name: str, program: Program) -> None:
        libraries = ":".join(sorted({str(library.parent) for library in self.root.rglob("lib*.so*")}))
        patterns = [word.replace("{root}/", "") for word in program.options.split()]
        found = [next(map(str, self.root.glob(word)), word) if "*" in word else word for word in patterns]
        text = ["#!/bin/sh", f"export LD_LIBRARY_PATH={shlex.quote(libraries)}"]
        fonts = self.root / "usr/share/fonts"
        if fonts.is_dir():  # brought because the machine has none
            config = self.folder / "fonts.conf"
            cache = self.folder / "fonts"
            config.write_text(f"<fontconfig><dir>{fonts}</dir><cachedir>{cache}</cachedir></fontconfig>\n")
            text.append(f"export FONTCONFIG_FILE={shlex.quote(str(config))}")
        text.append(f'exec {shlex.join([str(self.root / program.path), *found])} "$@"')
        command = self.bin / name
        command.write_text("\n".join(text) + "\n")
        command.chmod(0o755)

    def fetch_all(self, names: list[str]) -> dict[str, str]:
        """Returns why those that are missing are."""
        faults = {}
        for name in names:
            try:
                self.fetch(name)
            except Fault as fault:
                (self.bin / name).unlink(missing_ok=True)
                faults[name] = str(fault)
        return faults


def fetch(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    fetcher = Fetcher(folder)
    if shutil.which("apt-get") is None or shutil.which("dpkg") is None:
        print("Nothing fetched: there is no apt-get and dpkg here. What is not installed is skipped by the tests.")
        return
    faults = fetcher.fetch_all(list(PROGRAMS))
    is_final = True
    if faults:
        try:
            fetcher.use_fresh_lists()
            faults = fetcher.fetch_all(list(faults))
        except Fault as fault:
            print(f"There are no fresh package lists: {fault}")
            is_final = False
    for name, why in faults.items():
        print(f"{name} was not fetched ({why}). Unless it is installed, tests that need it are skipped.")
    for name in ("packages", "cache", "state"):
        shutil.rmtree(folder / name, ignore_errors=True)
    (folder / "fetched").write_text("".join(f"{name}\n" for name in PROGRAMS if name not in faults))
    if is_final:
        (folder / "stamp").touch()


def check(folder: Path, name: str) -> None:
    path = os.pathsep.join([str(folder / "bin"), os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
    program = shutil.which(name, path=path)
    if program is None:
        print(f"skipped: {name} (of Debian's {PROGRAMS[name].packages}) was neither fetched nor is it installed")
        sys.exit(SKIPPED)
    print(f"{version(program, name)} ({program})")


if __name__ == "__main__":
    if len(sys.argv) == 2:
        fetch(Path(sys.argv[1]).absolute())
    else:
        check(Path(sys.argv[1]).absolute(), sys.argv[2])
