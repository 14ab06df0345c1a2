"""The house itself: who imports whom, what is packed, what reading order and examples promise."""

import ast
import difflib
import os
import re
import subprocess
import sys
import zipfile
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("scratch", "with_diffusers", "compare", "workbench", "ddpm")
SCRATCH_MAY_INSIDE = {
    "saving.py": {"safetensors", "huggingface_hub"},
    "hub.py": {"huggingface_hub"},
    "pipeline.py": {"PIL", "tqdm"},
}


def imports(path: Path) -> list[tuple[str, str, bool]]:
    """(top-level package, full name, is inside a function) of every import in a file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inside = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
    }
    found = []
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        found += [(name.split(".")[0], name, id(node) in inside) for name in names]
    return found


def files(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


@pytest.mark.parametrize("path", files("scratch"), ids=lambda p: p.name)
def test_scratch_imports_torch_and_the_standard_library_only(path: Path) -> None:
    allowed = {"torch", "scratch", *sys.stdlib_module_names}
    for top, name, inside in imports(path):
        extra = SCRATCH_MAY_INSIDE.get(path.name, set()) if inside else set()
        assert top in allowed | extra, f"{path.name} imports {name}"


FORMULAS = ("schedule", "forward", "reverse", "timesteps", "prediction", "noise")


@pytest.mark.parametrize("name", FORMULAS)
def test_a_formula_file_knows_no_config_and_no_class(name: str) -> None:
    for top, full, _ in imports(ROOT / "scratch" / f"{name}.py"):
        known = full.removeprefix("scratch.").split(".")[0] in FORMULAS
        assert known or top in {"torch", *sys.stdlib_module_names}, f"{name}.py imports {full}"


@pytest.mark.parametrize("path", files("with_diffusers"), ids=lambda p: p.name)
def test_with_diffusers_imports_diffusers_and_torch_only(path: Path) -> None:
    allowed = {"torch", "diffusers", "with_diffusers", *sys.stdlib_module_names}
    assert {top for top, _, _ in imports(path)} <= allowed


@pytest.mark.parametrize("path", files("workbench"), ids=lambda p: p.name)
def test_workbench_reaches_backends_through_one_door_and_knows_nothing_above(path: Path) -> None:
    for top, name, _ in imports(path):
        assert top not in ("scratch", "with_diffusers", "diffusers"), f"{path.name} imports {name}"
        assert top not in ("compare", "ddpm"), f"{path.name} imports {name}"


def graph(packages: tuple[str, ...]) -> dict[str, set[str]]:
    """Each module of some packages, and those that it imports: at its top, inside, or for types."""
    paths = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for package in packages
        for path in files(package)
    }
    found: dict[str, set[str]] = {module: set() for module in paths}
    for module, path in paths.items():
        for _, name, _ in imports(path):
            parts = name.split(".")
            parents = [".".join(parts[:i]) for i in range(len(parts), 0, -1)]
            meant = next((parent for parent in parents if parent in paths), module)
            found[module] |= {meant} - {module}
    return found


def circle(imported: dict[str, set[str]]) -> list[str]:
    """A module, one that it imports, and so on back to the first; empty if there is no circle."""
    try:
        TopologicalSorter(imported).prepare()
    except CycleError as error:
        return error.args[1]
    return []


def test_a_circle_would_be_found() -> None:
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) in (
        [*"acba"], [*"bacb"], [*"cbac"],
    )  # fmt: skip
    assert circle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []
    assert "workbench.config" in graph(PACKAGES)["ddpm.train"]
    assert "workbench.training_run" in graph(PACKAGES)["ddpm.train"]  # inside a function


@pytest.mark.parametrize("package", ["scratch", "with_diffusers", "workbench", "ddpm"])
def test_no_modules_import_each_other(package: str) -> None:
    assert circle(graph((package,))) == []


def test_no_packages_import_each_other() -> None:
    between: dict[str, set[str]] = {package: set() for package in PACKAGES}
    for module, imported in graph(PACKAGES).items():
        package = module.split(".")[0]
        between[package] |= {name.split(".")[0] for name in imported} - {package}
    assert circle(between) == []


def test_the_oracle_stands_apart_from_both_backends() -> None:
    for path in (ROOT / "compare" / "oracle").rglob("*.py"):
        for top, name, _ in imports(path):
            ours = name.startswith("compare.oracle")
            assert ours or top in {"torch", *sys.stdlib_module_names}, f"{path.name}: {name}"


# Modules that are tested where their users are.
TESTED_WITH = {
    "accounts": "naming",
    "algorithms": "loss",
    "atoms": "naming",
    "average": "training",
    "batch": "network_role",
    "begun": "variables",
    "beside": "judge",
    "blocks": "network",
    "call": "handed_over",
    "calls": "loss",
    "card": "conventions",
    "chain_end": "sampling",
    "chains": "sampling",
    "child": "process",
    "chosen": "adapt",
    "clip": "conventions",
    "cost": "loss",
    "costs": "loss",
    "count": "doors",
    "curves": "judge",
    "ddim": "oracle",
    "ddpm": "oracle",
    "denoiser": "network_role",
    "draw": "variance",
    "ending": "loop",
    "entry": "mistakes",
    "expressions": "naming",
    "find": "doors",
    "fit": "naming",
    "found": "adapt",
    "from_oracle": "kill_table",
    "given": "loss",
    "handed": "adapt",
    "handing": "doors",
    "images": "forward",
    "inside": "loss",
    "length": "conventions",
    "lent": "network_role",
    "levels": "tables",
    "limit": "own_words",
    "listed": "offered",
    "load": "candidate",
    "look": "loop",
    "loop_steps": "loop",
    "loops": "naming_loops",
    "losses": "naming_losses",
    "measured": "naming",
    "method": "forward",
    "named": "adapt",
    "names": "reading",
    "network_alone": "network",
    "network_diagnosis": "network",
    "network_step": "network",
    "of_steps": "half",
    "output": "handed_over",
    "own_loop": "bring",
    "own_scheduler": "bring",
    "own_unet": "bring",
    "owner": "handed_over",
    "pairs": "naming",
    "paths": "network_role",
    "pictures": "conventions",
    "posterior": "tables",
    "precision": "forward",
    "probe": "mean",
    "quiet": "judge",
    "read": "bring",
    "record": "network",
    "respaced": "own_words",
    "rivals": "doors",
    "roles": "signature",
    "rounding": "loss",
    "sampler": "oracle",
    "scheduler": "subject",
    "setting": "oracle",
    "slopes": "naming_losses",
    "snr": "naming_losses",
    "softmax": "network_role",
    "source": "reading",
    "spacing": "conventions",
    "stage": "stages",
    "staged": "judge",
    "step": "mean",
    "steps": "forward",
    "sums": "naming",
    "surroundings": "shared_state",
    "time": "network_role",
    "told": "loss",
    "trace": "network_role",
    "trained": "training",
    "training_alone": "training",
    "transitions": "loop",
    "two_kinds": "apart",
    "unet": "network",
    "unknown": "own_words",
    "values": "check",
    "warning": "bring",
    "waves": "embedding",
    "weights": "naming_losses",
}

ELSEWHERE_TESTED_WITH = {
    "chart": "bench",
    "checkpoints": "runs",
    "fields": "config",
    "limits": "bench",
    "look": "plotting",
    "ours": "bench",
    "peers": "bench",
    "report": "bench",
    "sample": "cli",
    "scaling": "bench",
    "setting": "bench",
    "timing": "bench",
}


@pytest.mark.parametrize("package", PACKAGES)
def test_tests_mirror_the_folders(package: str) -> None:
    for path in files(package):
        if not path.stem.startswith("__"):
            known = TESTED_WITH if package == "compare" else ELSEWHERE_TESTED_WITH
            name = known.get(path.stem, path.stem)
            if "exercises" in path.parts:  # named like the files of scratch that they are on
                name = "exercises"
            assert (ROOT / "tests" / package / f"test_{name}.py").exists(), path


def _asks_which_sampler(source: str) -> list[int]:
    """The lines that compare something's `sampler` with words."""
    found = []
    for node in ast.walk(ast.parse(source)):
        parts = [node.left, *node.comparators] if isinstance(node, ast.Compare) else []
        asked = any("sampler" in (getattr(p, "attr", ""), getattr(p, "id", "")) for p in parts)
        if asked and any(isinstance(getattr(p, "value", p), str | ast.Tuple) for p in parts):
            found.append(getattr(node, "lineno", 0))
    return found


def test_nobody_asks_which_sampler_a_setting_has() -> None:
    assert _asks_which_sampler('if chosen.sampler == "ddim":\n    pass') == [1]
    assert _asks_which_sampler('kind = sampler in ("ddpm", "ddim")') == [1]
    for path in files("compare"):
        assert not _asks_which_sampler(path.read_text(encoding="utf-8")), path


@pytest.mark.parametrize("package", PACKAGES)
def test_no_pickle_is_read(package: str) -> None:
    for path in files(package):
        source = path.read_text(encoding="utf-8")
        assert not re.search(r"torch\.load\(|import pickle|allow_pickle=True", source), path
        for call in re.findall(r"np\.load\([^)]*\)", source):
            assert "allow_pickle=False" in call, f"{path}: {call}"


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_function_and_class_says_what_it_does(package: str) -> None:
    for path in files(package):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        assert ast.get_docstring(tree) is not None or path.name == "__main__.py", path
        for node in tree.body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                assert ast.get_docstring(node), f"{path.name}: {node.name} has no docstring"


def built_at_import(source: str) -> list[str]:
    """What a module makes with torch or NumPy while it is imported: its tensors and arrays."""
    found = []
    for line in ast.parse(source).body:
        value = line.value if isinstance(line, ast.Assign | ast.AnnAssign) else None
        later = {n for f in ast.walk(value or ast.Pass()) if isinstance(f, ast.Lambda)
                 for n in ast.walk(f)}  # fmt: skip
        calls = [n for n in ast.walk(value or ast.Pass()) if isinstance(n, ast.Call)]
        names = [ast.unparse(call.func) for call in calls if call not in later]
        found += [name for name in names if name.split(".")[0] in ("torch", "np", "numpy")]
    return [name for name in found if name not in ("torch.device",)]


@pytest.mark.parametrize("package", PACKAGES[:3])
def test_no_tensor_is_built_at_import(package: str) -> None:
    assert built_at_import("import torch\nX = {1: torch.ones(2)}\nF = lambda: torch.ones(2)") == [
        "torch.ones"
    ]
    for path in sorted((ROOT / package).rglob("*.py")):
        assert built_at_import(path.read_text()) == [], path


def imported(script: str) -> set[str]:
    """The top-level modules that a script brings beyond those of the interpreter itself."""
    said = "; import sys; print(*{name.partition('.')[0] for name in sys.modules})"
    run = subprocess.run(
        [sys.executable, "-c", script + said], capture_output=True, text=True, check=True
    )
    return set(run.stdout.split("\n")[-2].split()) - set(sys.stdlib_module_names)


def test_help_brings_nothing_but_our_own_modules() -> None:
    """What `ddpm --help` and the tab key wait for; torch alone takes seconds."""
    started = imported("pass")  # what an environment's own .pth files bring
    found = imported("from ddpm.cli import build_parser; build_parser().format_help()") - started
    assert found == {"ddpm", "ddpm_side_by_side", "workbench", "compare"}


def test_scratch_brings_nothing_but_itself_and_torch() -> None:
    """Neither Diffusers nor what only saving, the Hub, pictures and bars need."""
    assert imported("import torch, scratch") - imported("import torch") == {"scratch"}


def reading_order(text: str) -> list[str]:
    return re.findall(r"^\d+\. `([^`]+)`", text, flags=re.MULTILINE)


def test_the_reading_order_names_files_that_exist() -> None:
    order = reading_order((ROOT / "scratch" / "__init__.py").read_text(encoding="utf-8"))
    assert len(order) >= 10
    for name in order:
        assert (ROOT / name).is_file(), name


def test_readme_and_scratch_give_the_same_reading_order() -> None:
    ours = reading_order((ROOT / "scratch" / "__init__.py").read_text(encoding="utf-8"))
    assert reading_order((ROOT / "README.md").read_text(encoding="utf-8")) == ours


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built."""
    folder = tmp_path_factory.mktemp("wheel")
    script = f"from hatchling.build import build_wheel; print(build_wheel({str(folder)!r}))"
    made = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return folder / made.stdout.split()[-1]


PACKED = (".py", ".pyi", ".typed", ".txt", ".json", ".css", ".js", ".npz", ".html")


def test_the_wheel_holds_the_packages_and_nothing_else(wheel: Path) -> None:
    packed = set(zipfile.ZipFile(wheel).namelist())
    expected = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and path.suffix in PACKED
    }
    expected.add("ddpm_side_by_side.py")
    assert {name for name in packed if ".dist-info/" not in name} == expected
    for kept in ("LICENSE", "workbench/digits.LICENSE.txt"):
        assert any(name.endswith(f"licenses/{kept}") for name in packed)
    assert any(name.endswith("entry_points.txt") for name in packed)


def test_who_installed_the_wheel_can_do_an_exercise(wheel: Path, tmp_path: Path) -> None:
    """Begin, look at ours, write it down: with the wheel's files alone, in an empty folder."""
    installed, folder = tmp_path / "installed", tmp_path / "folder"
    zipfile.ZipFile(wheel).extractall(installed)
    folder.mkdir()

    def ddpm(*words: str) -> str:
        run = subprocess.run(
            [sys.executable, "-m", "ddpm", "exercise", "11b", *words],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(installed)},
            capture_output=True,
            text=True,
            check=True,
        )
        return run.stdout

    assert "ex_11b.py" in ddpm("--start")
    (folder / "ex_11b.py").write_text(ddpm("--solution"))
    assert ddpm().startswith("11b linspace: right")


EXAMPLES = [ROOT / "docs" / "examples" / f"train_{name}.py" for name in ("scratch", "diffusers")]


def test_the_two_scripts_differ_in_the_import_alone() -> None:
    ours, theirs = (path.read_text(encoding="utf-8").splitlines() for path in EXAMPLES)
    changed = [line for line in difflib.ndiff(ours, theirs) if line[0] in "+-"]
    assert sorted(changed) == [
        "+ from with_diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel",
        "- from scratch import DDPMPipeline, DDPMScheduler, UNet2DModel",
    ]


def test_the_two_scripts_give_the_same_losses(tmp_path: Path) -> None:
    """Six steps and a chain of three: the scripts themselves, with smaller numbers put in."""
    printed = []
    for path in EXAMPLES:
        source = path.read_text(encoding="utf-8")
        for long, short in (
            ("range(1, 601)", "range(1, 7)"),
            ("% 50", "% 1"),
            ("=500).im", "=3).im"),
        ):
            assert long in source
            source = source.replace(long, short)
        run = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", source],
            cwd=tmp_path, capture_output=True, text=True, check=True,
        )  # fmt: skip
        printed.append([float(line.split()[-1]) for line in run.stdout.splitlines()])
        assert (tmp_path / "digits.png").stat().st_size > 1000
        (tmp_path / "digits.png").unlink()
    assert len(printed[0]) == 6
    # Printed with four decimals: two losses that agree to 1e-6 may still round apart by one.
    assert printed[0] == pytest.approx(printed[1], abs=1.5e-4)
