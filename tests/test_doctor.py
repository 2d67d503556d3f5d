"""The doctor on machines that are really broken: libraries shadowed, folders in the way, disks full, cores taken."""

import json
import math
import os
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from commands import invoke
from conftest import write_idx

from labkit.paths import PACKAGE
from labkit.running import doctor, hardware, machine, probe
from labkit.running.findings import Finding, exit_code

NMS = "operator torchvision::nms does not exist"  # what torchvision says beside a PyTorch of another release
COMMAND = "from labkit.cli import app; app()"


def python(code: str, *words: str, before: tuple[str, ...] = (), **environment: object) -> tuple[int, str]:
    """Run Python code in a process of its own; its exit code and all that it says."""
    paths = [environment.pop("PYTHONPATH", ""), PACKAGE.parent, os.environ.get("PYTHONPATH", "")]
    changed = {"PYTHONPATH": os.pathsep.join(str(path) for path in paths if path)}
    changed |= {name: str(value) for name, value in environment.items()}
    command = [*before, sys.executable, "-P", "-c", code, *words]  # -P: what lies in the current folder is no matter
    ran = subprocess.run(command, capture_output=True, text=True, timeout=200, env=os.environ | changed)
    assert "Traceback" not in ran.stderr
    return ran.returncode, ran.stdout + ran.stderr


def found(text: str, part: str) -> str:
    """The one line that says ``part``."""
    (line,) = [line for line in text.splitlines() if part in line]
    return line


def write_kernel(root: Path, command: str) -> Path:
    """A user's own kernel python3 that starts ``command``."""
    folder = root / "kernels" / "python3"
    folder.mkdir(parents=True)
    spec = f'{{"argv": ["{command}", "-f", "{{connection_file}}"], "display_name": "mine", "language": "python"}}'
    (folder / "kernel.json").write_text(spec)
    return root


def test_a_machine_that_is_well_has_nothing_wrong_and_the_end_says_what_a_run_would_use(tmp_path: Path) -> None:
    root = write_idx(tmp_path / "data")
    code, said = python(COMMAND, "doctor", "--data", str(root), "--out", str(tmp_path / "runs"))
    assert code == 0, said
    assert not re.search("^wrong", said, re.MULTILINE)
    assert all(re.match("good|note", line) for line in said.split("\n\n")[0].splitlines())
    end = said.split("A run would use\n")[1]
    for words in ("device +(cpu|cuda|mps)", r"precision +\w+ \(.+\)", r"threads +\d+", f"data +{root}"):
        assert re.search(words, end), words
    assert "mnist    data in the MNIST layout" in end
    assert "pets     not there: its sample will be used" in end
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data"]  # nothing is made, neither runs nor samples
    assert [path.name for path in root.iterdir()] == ["MNIST"]


@pytest.fixture(scope="module")
def ill(tmp_path_factory: pytest.TempPathFactory) -> tuple[int, str]:
    """What the doctor says where torchvision is broken, a file lies in the way of the runs, and more is wrong."""
    folder = tmp_path_factory.mktemp("ill")
    (folder / "torchvision.py").write_text(f"raise RuntimeError({NMS!r})")
    (folder / "runs").write_text("a file")
    kernels = write_kernel(folder / "jupyter", "/opt/gone/bin/python")
    return python(
        COMMAND,
        "doctor",
        PYTHONPATH=folder,
        LABKIT_RUNS=folder / "runs",
        LABKIT_DATA=folder / "nowhere",
        JUPYTER_DATA_DIR=kernels,
        JUPYTER_PREFER_ENV_PATH=0,
        KMP_DUPLICATE_LIB_OK="TRUE",
        PATH=folder,
    )


def test_everything_that_is_wrong_is_one_sentence_with_its_remedy(ill: tuple[int, str]) -> None:
    code, said = ill
    assert code == 1
    broken = found(said, NMS)
    assert broken.startswith(f"wrong  torchvision cannot be imported (RuntimeError: {NMS}): ")
    assert "must be of one release" in broken
    assert "wrong  Neither can" not in said  # nothing else needs torchvision
    assert re.match(r"wrong .*/runs cannot be written \(Not a directory\): .*--out", found(said, "folder of runs"))
    assert found(said, "data folder").endswith("nowhere does not exist: give one that does, or leave it out.")
    assert re.match("wrong .*/opt/gone/bin/python, which does not exist: delete .*ipykernel", found(said, "kernel"))
    assert found(said, "KMP_DUPLICATE_LIB_OK").endswith("unset it.")
    assert found(said, "There is no git").startswith("note")


def test_what_can_still_be_said_is_said(ill: tuple[int, str]) -> None:
    said = ill[1]
    assert found(said, "precision")
    assert "GiB of memory" in said
    assert re.search(r"^  runs +.*/runs$", said, re.MULTILINE)


@pytest.mark.parametrize(
    ("module", "source", "sentence"),
    [
        ("numpy", "import os; os.abort()", "numpy cannot be imported (it ended Python with exit code -6"),
        ("torch", "raise ModuleNotFoundError(\"No module named 'torch'\")", "torch cannot be imported (ModuleNotFound"),
    ],
)
def test_a_library_that_is_missing_or_ends_the_process_is_named(
    tmp_path: Path, module: str, source: str, sentence: str
) -> None:
    (tmp_path / f"{module}.py").write_text(source)
    code = f"""if True:
        from labkit.running import doctor
        doctor.libraries = lambda: {["numpy", "torch", "filelock"]!r}  # all would take a while
        findings, steps = doctor.examine("", "")
        for finding in findings: print(finding)
        for line in doctor.used("", "", steps): print(line)"""
    said = python(code, PYTHONPATH=tmp_path)[1]
    assert f"wrong  {sentence}" in said
    assert "runs " in said


@pytest.mark.parametrize(
    ("needs", "sentence"),
    [
        ("numpy>=900", r"^wrong  labkit needs numpy >=900, which is \d.*anew\.$"),
        ("unicorn-tools", r"^wrong  labkit needs unicorn-tools, which is not there: "),
    ],
)
def test_versions_out_of_range_are_found(tmp_path: Path, needs: str, sentence: str) -> None:
    info = tmp_path / "labkit-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: labkit\nVersion: 0.1.0\nRequires-Dist: {needs}\n")
    show = "from labkit.running.doctor import check_versions\nfor finding in check_versions(): print(finding)"
    assert re.search(sentence, python(show, PYTHONPATH=tmp_path)[1])


def test_a_process_that_is_bound_to_one_core_knows_it() -> None:
    code = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
    code += "from labkit.running.hardware import check_cores\nfor finding in check_cores(4): print(finding)"
    assert python(code)[1].startswith(f"note   1 of {os.cpu_count()} cores may be used, but PyTorch starts 4 threads: ")


def test_a_run_takes_no_more_threads_than_a_quota_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(machine, "bound_cores", lambda: 8)
    monkeypatch.setattr(machine, "core_quota", lambda: 1.5)
    assert machine.threads_within_quota() == 2
    monkeypatch.setenv("MKL_NUM_THREADS", "1")
    assert machine.threads_within_quota() == 0  # the user has chosen
    monkeypatch.delenv("MKL_NUM_THREADS")
    monkeypatch.setattr(machine, "core_quota", lambda: math.inf)
    assert machine.threads_within_quota() == 0


def test_threads_that_the_environment_withholds_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    if machine.usable_cores() == 1:
        pytest.skip("this machine has one core")
    (finding,) = hardware.check_cores(1)
    assert (finding.grade, finding.remedy) == ("note", "unset OMP_NUM_THREADS and MKL_NUM_THREADS to use all")


@pytest.fixture
def group(request: pytest.FixtureRequest) -> Iterator[Path]:
    """A control group (version 1) with a limit that the test names, for processes of the test."""
    controller, file, limit = request.param
    folder = machine.GROUPS / controller / f"labkit-test-{os.getpid()}"
    try:
        folder.mkdir()
        (folder / file).write_text(str(limit))
    except OSError as error:
        pytest.skip(f"no control group can be made here ({error.strerror})")
    yield folder
    folder.rmdir()


def in_group(folder: Path, check: str) -> str:
    """What a check says in a process of the group ``folder``."""
    join = f"from pathlib import Path\nPath({str(folder / 'cgroup.procs')!r}).write_text('0')\n"
    return python(f"{join}from labkit.running import hardware\nfor finding in hardware.{check}: print(finding)")[1]


@pytest.mark.parametrize("group", [("memory", "memory.limit_in_bytes", 300 * 2**20)], indirect=True)
def test_memory_that_a_container_withholds_counts_as_not_there(group: Path) -> None:
    said = in_group(group, "check_memory()")
    assert said.startswith("wrong  There are 0.3 GiB of memory, as a container or batch system allows, but a small run")


@pytest.mark.parametrize("group", [("cpu", "cpu.cfs_quota_us", 50_000)], indirect=True)
def test_a_quota_of_half_a_core_leaves_one_thread(group: Path) -> None:
    said = in_group(group, "check_cores(2)")
    assert said.startswith(f"note   1 of {os.cpu_count()} cores may be used, but PyTorch starts 2 threads")


def test_control_groups_are_read_in_both_versions() -> None:
    docker = "12:cpu,cpuacct:/docker/4f1c\n4:memory:/docker/4f1c\n1:name=systemd:/docker/4f1c\n0::/system.slice/x\n"
    own = ["memory/docker/4f1c", "memory/docker", "memory", "system.slice/x", "system.slice", ""]
    assert machine.group_folders(docker, "memory") == [machine.GROUPS / name for name in own]
    assert machine.group_folders(docker, "cpu")[0] == machine.GROUPS / "cpu" / "docker" / "4f1c"
    slurm = "0::/system.slice/slurmstepd.scope/job_71/step_0/user/task_0\n"
    assert machine.GROUPS / "system.slice/slurmstepd.scope/job_71" in machine.group_folders(slurm, "cpu")
    assert [machine.bytes_in([text]) for text in ("max", "9223372036854771712", "2147483648")] == [
        math.inf,
        math.inf,
        2**31,
    ]
    used = f"{2**30} {2**29} anon 5 inactive_file {2**28} active_file 7".split()
    assert machine.room_in(used) == 2**30 - 2**29 + 2**28
    assert machine.room_in(["max", *used[1:]]) == math.inf
    quotas = (["max", "100000"], ["-1", "100000"], ["150000", "100000"])
    assert [machine.cores_in(words) for words in quotas] == [math.inf, math.inf, 1.5]


def test_folders_that_cannot_be_written_are_found_also_by_root(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "runs", Path("/proc/labkit/runs")):
        (finding,) = hardware.check_folder("folder", folder, 1, "give another")
        assert (finding.grade, finding.remedy) == ("wrong", "give another"), folder
    (finding,) = hardware.check_folder("folder", tmp_path / "a" / "b", 1, "")
    assert finding.grade == "good"
    assert not (tmp_path / "a").exists()


def test_a_data_folder_that_cannot_be_written_is_no_harm_where_the_cache_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    note, good = hardware.check_data("/proc")
    assert (note.grade, good.grade) == ("note", "good")
    assert str(tmp_path) in note.what
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc")
    (wrong,) = hardware.check_data("/proc")
    assert wrong.grade == "wrong"


def test_a_disk_that_is_full_is_found(tmp_path: Path) -> None:
    mount = ("unshare", "-rm", "sh", "-c", 'mount -t tmpfs -o size=3m none "$0" && exec "$@"', str(tmp_path))
    if not shutil.which("unshare") or subprocess.run([*mount, "true"], capture_output=True).returncode:
        pytest.skip("no small disk can be mounted here (unshare -rm)")
    code = "import sys\nfrom labkit.running.hardware import check_runs\nfor f in check_runs(sys.argv[1]): print(f)"
    said = python(code, str(tmp_path / "runs"), before=mount)[1]
    assert re.match(r"wrong  The disk of the folder of runs .*/runs has 3 MiB of room and \d+ MiB are needed", said)


def test_the_kernel_of_this_environment_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(write_kernel(tmp_path, shutil.which("sh") or "/bin/sh")))
    monkeypatch.setenv("JUPYTER_PREFER_ENV_PATH", "1")
    assert [finding.grade for finding in doctor.check_kernel()] == ["good"]
    monkeypatch.setenv("JUPYTER_PREFER_ENV_PATH", "0")
    (other,) = doctor.check_kernel()
    assert "runs another Python, " in other.what
    assert "does not exist" not in other.what
    (tmp_path / "kernels" / "python3" / "kernel.json").write_text("{")
    (broken,) = doctor.check_kernel()
    assert broken.what.startswith("Jupyter has no kernel python3 that can be used")


def test_a_step_that_fails_is_told_unless_a_broken_import_is_the_reason() -> None:
    steps = {"numpy": {"facts": {}}, "fonts": {"error": "ValueError: Failed to find font DejaVu Sans"}}
    (finding,) = doctor.check_asked("fonts", steps, doctor.check_fonts)
    assert (finding.grade, finding.what) == (
        "wrong",
        "fonts cannot be checked (ValueError: Failed to find font DejaVu Sans)",
    )
    assert not list(doctor.check_asked("fonts", steps | {"scipy": {"error": "ImportError: no"}}, doctor.check_fonts))


def test_two_openmp_runtimes_in_one_process_are_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    gomp = next((Path(torch.__file__).parent / "lib").glob("libgomp*"), None)
    if gomp is None:
        pytest.skip("this PyTorch brings no libgomp that could be copied")
    names = [shutil.copy(gomp, tmp_path / name) for name in ("libiomp5.so", "libomp.so")]
    code = "import ctypes, json, sys\nfor name in sys.argv[1:]: ctypes.CDLL(name)\n"
    code += "from labkit.running import probe\nprint(json.dumps(probe.openmp()))"
    kinds = json.loads(python(code, *names)[1].splitlines()[0])
    assert kinds == ["libiomp", "libomp"]
    monkeypatch.delenv("KMP_DUPLICATE_LIB_OK", raising=False)
    (wrong,) = doctor.check_openmp(kinds)
    assert (wrong.grade, wrong.what) == ("wrong", "OpenMP runtimes that clash are loaded (libiomp, libomp)")
    assert [finding.grade for finding in doctor.check_openmp(["libgomp", "libiomp"])] == ["note"]
    assert not list(doctor.check_openmp(["libgomp"]))


def card(folder: Path, listing: str) -> Mapping[str, str]:
    """An environment whose nvidia-smi lists a card."""
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\necho '{listing}'\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}


def test_a_card_that_pytorch_cannot_use_is_told_with_what_pytorch_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = probe.graphics()
    if facts["available"]:
        pytest.skip("PyTorch can use the card of this machine")
    assert not list(hardware.check_graphics(facts, []))
    monkeypatch.setenv("PATH", card(tmp_path, "GPU 0: NVIDIA GeForce GTX 1080 (UUID: GPU-5a1c)")["PATH"])
    cards = hardware.graphics_cards()
    assert cards == ["NVIDIA GeForce GTX 1080"]
    (wrong,) = hardware.check_graphics(facts, cards)
    assert re.search("built without CUDA|Found no NVIDIA driver on your system", wrong.what)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    (hidden,) = hardware.check_graphics(facts | {"built": "13.0"}, cards)
    assert hidden.grade == "note"


OLD = (
    "CUDA initialization: The NVIDIA driver on your system is too old (found version 11040). Please update your GPU "
    "driver by downloading and installing a new version from the URL: http://www.nvidia.com/Download/index.aspx "
    "Alternatively, go to: https://pytorch.org to install a PyTorch version that has been compiled with your version "
    "of the CUDA driver. (Triggered internally at /pytorch/c10/cuda/CUDAFunctions.cpp:109.)"
)
UNKNOWN = (
    "CUDA initialization: CUDA unknown error - this may be due to an incorrectly set up environment, e.g. changing env "
    "variable CUDA_VISIBLE_DEVICES after program start. Setting the available devices to be zero. (Triggered "
    "internally at /pytorch/c10/cuda/CUDAFunctions.cpp:109.)"
)


def test_drivers_and_cards_that_are_too_old() -> None:
    none = {"built": "13.0", "available": False, "architectures": []}
    (old,) = hardware.check_graphics(none | {"says": [OLD]}, [])
    assert "(The NVIDIA driver on your system is too old (found version 11040))" in old.what
    assert old.remedy.startswith("update the NVIDIA driver")
    none_there = "CUDA initialization: Found no NVIDIA driver on your system. Please check that you have an NVIDIA GPU"
    assert not list(hardware.check_graphics(none | {"says": [none_there]}, []))
    (mixed,) = hardware.check_graphics(none | {"says": ["CUDA initialization: Unexpected error. Error 803: mixed"]}, [])
    assert mixed.what == "PyTorch cannot use the graphics card (Unexpected error)"
    assert hardware.first_sentence(UNKNOWN).endswith("CUDA_VISIBLE_DEVICES after program start")
    facts = {
        "built": "13.0",
        "available": True,
        "architectures": ["sm_75", "sm_90a", "sm_120", "compute_120"],
        "name": "Tesla P4",
    }
    (young,) = hardware.check_graphics(facts | {"capability": [6, 1], "says": []}, [])
    assert young.what == "Tesla P4 has compute capability 6.1, and this PyTorch is built for 7.5 on"
    assert [f.grade for f in hardware.check_graphics(facts | {"capability": [7, 5], "says": []}, [])] == ["good"]


def test_damaged_data_are_wrong_and_absent_data_are_not(tmp_path: Path) -> None:
    root = write_idx(tmp_path)
    (root / "MNIST" / "raw" / "t10k-labels-idx1-ubyte").write_bytes(b"\0\0")
    (root / "liver").mkdir()
    findings = list(doctor.check_data_sets(probe.data_sets(str(root))))
    assert [finding.what.split()[0] for finding in findings] == ["mnist", "liver"]
    assert exit_code(findings) == 1
    assert exit_code([Finding("note", "This is a note"), Finding("good", "This is good")]) == 0


def test_a_check_that_fails_is_a_finding_itself() -> None:
    (finding,) = doctor.guarded("this", lambda: [1 / 0])
    assert (finding.grade, finding.what) == ("wrong", "this cannot be checked (ZeroDivisionError: division by zero)")


def test_a_home_of_nobody_is_one_sentence() -> None:
    said = invoke("doctor", "--data", "~nosuchuser/data")
    assert said.exit_code == 2
    assert len(said.stderr.splitlines()) == 1
