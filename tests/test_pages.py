"""The pages: their links lead somewhere, their commands are accepted, and their examples print the output shown."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import gradcheck
import minitransformer
from minitransformer import cli, one_page

ROOT = Path(minitransformer.__file__).parents[1]
PACKAGE = ROOT / "minitransformer"
README = (ROOT / "README.md").read_text("utf-8")
GUIDE = (ROOT / "gradcheck/GUIDE.md").read_text("utf-8")
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text("utf-8")
    for folder in (".", ".github", "gradcheck", "minitransformer", "tests")
    for path in sorted((ROOT / folder).glob("*.md" if folder in (".", ".github") else "**/*.md"))
}


def section(page, title):
    """Return the text of a section of a page, up to the next section of the same level."""
    found = page.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    assert found, title
    return found


def blocks(text, language):
    """Return the code blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def words(text):
    """Return the words of a text, whatever its line breaks."""
    return " ".join(text.split())


# Links


def anchors(page):
    """Return the anchors of the headings of a page, as GitHub forms them."""
    headings = re.findall(r"^#+ (.*)$", page, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", PAGES)
def test_every_link_of_a_page_leads_somewhere(name):
    for link in re.findall(r"\]\((?!https?:)([^)\s]+)\)", PAGES[name]):
        file, _, anchor = link.partition("#")
        target = (ROOT / name).parent / file if file else ROOT / name
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target.read_text("utf-8")), link


def test_every_page_can_be_reached_from_the_readme():
    reached, todo = set(), ["README.md"]
    while todo:
        name = todo.pop()
        reached.add(name)
        for link in re.findall(r"\]\((?!https?:)([^)\s#]+)", PAGES[name]):
            target = ((ROOT / name).parent / link).resolve()
            target = target / "README.md" if target.is_dir() else target
            other = target.relative_to(ROOT).as_posix()
            if other in PAGES and other not in reached:
                todo.append(other)
    folder_pages = {name for name in PAGES if name.endswith("/README.md")}  # found in their folders
    assert set(PAGES) - folder_pages - reached == set()


# Commands


def commands(page):
    """Return the commands of the bash blocks of a page, without comments, continued lines joined."""
    lines = "".join(blocks(page, "bash")).replace("\\\n", "").splitlines()
    parts = [part for line in lines for part in re.sub(r"\s+#.*", "", line).split(" && ")]
    return [" ".join(part.replace(".venv/bin/", "").split()) for part in parts]


COMMANDS = sorted({command for page in PAGES.values() for command in commands(page)})


@pytest.mark.parametrize("command", [command for command in COMMANDS if command.startswith("minitransformer ")])
def test_a_command_of_a_page_has_options_that_exist(command):
    cli.build_parser().parse_args(shlex.split(command)[1:])


def test_the_commands_for_windows_are_those_for_other_systems_in_powershell():
    plain = re.findall(r"^python3 -m venv.*$", README, re.MULTILINE)
    powershell = re.findall(r"^\| \w+ \| `(py .*)` \|$", README, re.MULTILINE)
    changed = {"python3 ": "py ", " && ": "; ", ".venv/bin/": ".venv\\Scripts\\"}
    for old, new in changed.items():
        plain = [command.replace(old, new) for command in plain]
    assert len(plain) == 2 and powershell == plain


# The others are long, need a network or a terminal, or install something. Each is run by the test or tool named here.
ELSEWHERE = {
    r"bash \.ci/run|ruff|mypy|pip install|python3 -m venv|python -m (minitransformer demo|pytest)": ".ci/run",
    r"python -m gradcheck( \w+)? my_module|python -m gradcheck$": ".ci/run, and GUIDE's own layer below",
    r"minitransformer (fetch|chat|verify)": ".ci/run and the tests of the real model",
    r"minitransformer bench": "the slow tests of bench, in smaller sizes",
    r"minitransformer (train|generate|analyze|finetune|patterns)": "the tests of these commands, in fewer steps",
    r"minitransformer misconceptions": "test_misconceptions, and test_misconceptions_seeds with other seeds",
    r"minitransformer learn (open|watch|collect|derive)": "the tests of learn",
    r"minitransformer book --out": "the tests of the book",
    r"docker|mkdir class|cp -r submission|mv results|minitransformer book my_layers": "by hand",
}
HERE = {
    "python -m gradcheck museum",
    "python -m gradcheck identities",
    "python -m gradcheck my_layer",
    "python -m gradcheck audit my_layer",
    "minitransformer book --handout layer_norm",
    "minitransformer book --worksheet attention --seed 3 --count 30",
    "minitransformer learn start --level 0",
}


def run(command, folder):
    """Run a command of a page in a folder, with this Python."""
    name, *arguments = shlex.split(command)
    program = arguments if name == "python" else ["-m", name, *arguments]
    return subprocess.run(
        [sys.executable, *program], cwd=folder, capture_output=True, text=True, encoding="utf-8", input=""
    )


def test_every_command_of_a_page_is_run_somewhere():
    assert set(COMMANDS) >= HERE
    others = set(COMMANDS) - HERE
    assert {command for command in others if not any(re.match(pattern, command) for pattern in ELSEWHERE)} == set()
    assert all(any(re.match(pattern, command) for command in others) for pattern in ELSEWHERE)


@pytest.mark.slow
@pytest.mark.parametrize("command", sorted(HERE))
def test_a_command_of_a_page_succeeds(command, tmp_path):
    (tmp_path / "my_layer.py").write_text(OWN_LAYER, "utf-8")
    done = run(command, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


# README


def test_the_readme_is_short_and_begins_with_its_three_doors():
    assert len(README.splitlines()) <= 220
    titles = re.findall(r"^## (.*)$", README, re.MULTILINE)
    assert titles[:4] == ["Two commands", "Read", "Check", "Teach"]


def test_the_readme_shows_lines_of_the_one_page():
    (middle,) = (block for block in blocks(section(README, "Read"), "python") if "# 31" in block)
    assert middle in Path(one_page.__file__).read_text("utf-8")


def test_the_example_of_a_check_prints_the_reports_shown(tmp_path):
    (source,) = blocks(section(README, "Check"), "python")
    right, wrong = blocks(section(README, "Check"), "text")
    (tmp_path / "right.py").write_text(source, "utf-8")
    assert words(run("python right.py", tmp_path).stdout) == words(right)
    forgotten = source.replace(" - y * (dy * y).mean(axis=-1, keepdims=True)", "")
    assert forgotten != source
    (tmp_path / "wrong.py").write_text(forgotten, "utf-8")
    error = words(run("python wrong.py", tmp_path).stderr)
    assert error.endswith(f"GradientError: {words(wrong)}")


def test_a_model_is_trained_and_samples_a_text_as_printed(capsys):
    (source,) = blocks(section(README, "Train and sample"), "python")
    short = source.replace("range(500)", "range(2)").replace("max_new_tokens=200", "max_new_tokens=5")
    assert short.count("(2)") == 1 and "max_new_tokens=5" in short
    exec(compile(short, "README.md", "exec"), {})
    assert capsys.readouterr().out.startswith("The ")


def test_the_readme_lists_the_files_of_the_textbook_in_their_order():
    listed = re.findall(r"\]\(minitransformer/([\w/]+\.py)\)", section(README, "The textbook"))
    textbook = re.split(r"^\*\*Use", (PACKAGE / "README.md").read_text("utf-8"), flags=re.MULTILINE)[0]
    assert listed == re.findall(r"^    (\S+\.py)  ", textbook, re.MULTILINE)


def test_the_route_of_three_hours_has_every_function_that_the_one_page_needs():
    (route,) = re.findall(r"^- \*\*Three hours\*\*:(.*?)^- ", README, re.MULTILINE | re.DOTALL)
    for needed in ("linear", "embedding", "layer_norm", "softmax", "attention", "GELU", "losses", "AdamW"):
        assert needed in route


# The guide to gradcheck


def test_the_two_programs_of_the_guide_print_what_it_shows(tmp_path):
    (source,) = blocks(section(GUIDE, "Two programs, one function"), "python")
    (expected,) = blocks(section(GUIDE, "Two programs, one function"), "text")
    (tmp_path / "mine.py").write_text(source, "utf-8")
    ran = subprocess.run([sys.executable, "mine.py"], cwd=tmp_path, capture_output=True, text=True)
    assert ran.stdout == expected, ran.stderr


(OWN_LAYER,) = blocks(section(GUIDE, "Write your own layer"), "python")


def test_ones_own_layer_is_short():
    assert len([line for line in OWN_LAYER.splitlines() if line.strip()]) <= 20


@pytest.mark.parametrize(
    "right, wrong, message",
    [
        ("(x * dalpha_x).sum()", "x * dalpha_x", "not summed over axes 0, 1, 2"),
        ("(dy * h).sum(axis=tuple(range(dy.ndim - 1)))", "dy * h", "not summed over axes 0, 1"),
        pytest.param("(1 - h**2)", "h**2", "dalpha_x  WRONG", marks=pytest.mark.slow),
    ],
)
def test_ones_own_layer_is_wrong_with_the_mistakes_that_are_named(tmp_path, right, wrong, message):
    (tmp_path / "my_layer.py").write_text(OWN_LAYER.replace(right, wrong), "utf-8")
    check = run("python -m gradcheck my_layer", tmp_path)
    assert check.returncode == 1
    assert message in check.stdout


def test_the_tests_of_the_guide_pass_as_printed(tmp_path):
    (tmp_path / "test_guide.py").write_text(
        "\n\n".join(blocks(section(GUIDE, "pytest and Hypothesis"), "python")), "utf-8"
    )
    found = run("python -m pytest -q test_guide.py", tmp_path)
    assert found.returncode == 0 and "2 passed" in found.stdout, found.stdout


def test_each_form_of_a_gradient_is_checked_as_printed():
    (source,) = blocks(section(GUIDE, "The forms of a gradient"), "python")
    exec(compile(source, "GUIDE.md", "exec"), {})
    assert len(re.findall(r"^check", source, re.MULTILINE)) >= 9
    inside = source.replace("(np.sqrt(v / (1 - beta2**t)) + eps)", "np.sqrt(v / (1 - beta2**t) + eps)")
    with pytest.raises(gradcheck.GradientError, match="ε is inside the root"):
        exec(compile(inside, "GUIDE.md", "exec"), {})
