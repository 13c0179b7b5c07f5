"""README does what it says: its own layer passes its checks, its page is the page, its map is the package's."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import minitransformer
from minitransformer import one_page

ROOT = Path(minitransformer.__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")


def section(title):
    """Return the text of a section, up to the next."""
    return README.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def blocks(text, language):
    """Return the code blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


OWN_LAYER = "Write your own layer"


def run_own_layer(folder, change=lambda source: source):
    """Write README's layer into a folder and run its commands there. Returns their results."""
    (source,) = blocks(section(OWN_LAYER), "python")
    (commands,) = blocks(section(OWN_LAYER), "bash")
    (folder / "my_layer.py").write_text(change(source), "utf-8")
    return [
        subprocess.run(
            [sys.executable, *line.partition("#")[0].split()[1:]], cwd=folder, capture_output=True, text=True
        )
        for line in commands.splitlines()
    ]


@pytest.mark.slow
def test_ones_own_layer_is_green_as_printed(tmp_path):
    check, audit = run_own_layer(tmp_path)
    assert check.returncode == 0, check.stdout + check.stderr
    assert "dynamic_tanh" in check.stdout
    assert audit.returncode == 0, audit.stdout + audit.stderr
    assert " 0 surviving" in audit.stdout
    statements = [line for line in blocks(section(OWN_LAYER), "python")[0].splitlines() if line.strip()]
    assert len(statements) <= 20


@pytest.mark.parametrize(
    "old, new",
    [
        ("(x * dalpha_x).sum()", "x * dalpha_x"),
        pytest.param("(1 - h**2)", "h**2", marks=pytest.mark.slow),
    ],
)
def test_ones_own_layer_is_red_with_the_mistakes_that_are_named(tmp_path, old, new):
    check, _ = run_own_layer(tmp_path, lambda source: source.replace(old, new))
    assert check.returncode == 1
    assert "WRONG" in check.stdout or "dalpha" in check.stdout + check.stderr


def test_each_shape_of_ones_own_gradients_is_checked_as_printed():
    (source,) = blocks(section("Check your own gradients"), "python")
    exec(compile(source, "README.md", "exec"), {})
    assert len(re.findall(r"^check", source, re.MULTILINE)) >= 9
    with pytest.raises(AssertionError, match="ε is inside the root"):
        exec(
            compile(
                source.replace("(np.sqrt(v / (1 - beta2**t)) + eps)", "np.sqrt(v / (1 - beta2**t) + eps)"), "", "exec"
            ),
            {},
        )


def test_the_middle_of_the_page_is_the_page():
    (middle,) = blocks(section("One page"), "python")
    assert middle in Path(one_page.__file__).read_text("utf-8")


def groups_of_the_map():
    """Return the files of each group of the package's map, in order."""
    page = (ROOT / "minitransformer/README.md").read_text("utf-8")
    read, use, skip = re.split(r"^\*\*(?:Use|Skip)", page, flags=re.M)
    return [re.findall(r"^    (\S+\.py|\S+/)  ", group, re.MULTILINE) for group in (read, use, skip)]


def groups_of_readme():
    """Return the files that README's map links to, in order, for each of its groups."""
    read, use, skip = re.split(r"^To \*\*(?:use|skip)", section("The map").partition("| file |")[2], flags=re.M)
    links = [re.findall(r"\]\(minitransformer/([^)]+)\)", group) for group in (read, use, skip)]
    return [[link if link.endswith(".py") else f"{link}/" for link in group] for group in links]


def test_readmes_map_has_the_groups_and_the_order_of_the_packages():
    (read, use, skip), (its_read, its_use, its_skip) = groups_of_the_map(), groups_of_readme()
    assert its_read == read
    assert its_use == [file for file in use if file in its_use]
    assert set(use) - set(its_use) <= {"cli.py"}
    assert its_skip == skip


def test_every_link_of_readme_leads_somewhere():
    links = re.findall(r"\]\((?!https?:|#)([^)]+)\)", README)
    assert len(links) > 30
    assert [link for link in links if not (ROOT / link).exists()] == []
