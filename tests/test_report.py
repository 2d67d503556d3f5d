"""The report from run folders: the student's part is kept, nothing in it is run, and the documents say the same."""

import html
import json
import re
import zipfile
from pathlib import Path

import pypandoc
import pytest
from finished_runs import write_run, write_training
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pypdf import PdfReader

from labkit.cli import app
from labkit.errors import RequestError
from labkit.exercises import exercises_of
from labkit.exercises.exercise import Question
from labkit.labs import LABS, lab_of
from labkit.paths import project_root
from labkit.report import document, markdown
from labkit.report.answers import exercises_part
from labkit.report.build import build_report
from labkit.report.render import MARKDOWN
from labkit.report.sections import FULL, NOT_SHOWN, SHORTEST, lab_text, reasons
from labkit.report.settings import Settings, make_forms, paragraphs, read_settings
from labkit.results.finished import READERS, find_runs

SETTINGS = "title: My report\nauthor: [Ada Łovelace, 王小明]\ncourse: CV 101\nnumber: 007\ndate: 1 May 2026\n"
WORDS = "I found that $\\alpha^2 = 1.5$ holds, says 王小明 (Zoë).\n"


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    root = tmp_path / "runs"
    write_run(root, seed=0)
    write_run(root, seed=1, loss="dice", scores=(0.7, 0.7, 0.9))
    write_run(root, seed=2, status="failed")
    return root


def texts(out: Path) -> dict[str, str]:
    """What each of the four documents says, as plain text."""
    pages = PdfReader(out / "report.pdf").pages
    word = zipfile.ZipFile(out / "report.docx").read("word/document.xml").decode("utf-8")
    return {
        "pdf": "\n".join(page.extract_text() for page in pages),
        "docx": html.unescape(re.sub("<[^>]+>", "", word)),
        "html": html.unescape(re.sub("<[^>]+>", "", (out / "report.html").read_text("utf-8"))),
        "tex": (out / "report.tex").read_text("utf-8"),
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report with words of the student's own."""
    folder = tmp_path_factory.mktemp("a report 中")
    for lab in ("01", "02", "03", "04", "05"):
        write_run(folder / "runs", lab, scores=(0.5, 1.0, 1.0))
    write_run(folder / "runs", seed=1, loss="dice")
    write_run(folder / "runs", seed=2, status="interrupted")
    (folder / "out" / "text").mkdir(parents=True)
    (folder / "out" / "report.yaml").write_text(SETTINGS, "utf-8")
    (folder / "out" / "text" / "objective.md").write_text(WORDS, "utf-8")
    (folder / "out" / "text" / "02_liver_unet-analysis.md").write_text("<!-- no -->\n# Mine\n\nWhy *so*?\n", "utf-8")
    list(build_report(folder / "out", str(folder / "runs")))
    return folder


def test_the_four_documents_say_the_same(made: Path) -> None:
    for form, text in texts(made / "out").items():
        flat = re.sub(r"\s+", " ", text)
        for words in ("Ada Łovelace", "王小明", "Zoë", "CV 101", "007", "1 May 2026", "My report", "Why"):
            assert words in flat, (form, words)
        for words in ("Reading digits with a residual network", "Finding the liver", "Problems met", "References"):
            assert words in flat, (form, words)
        assert "sample data" in flat, form


def test_numbers_come_with_their_intervals(made: Path) -> None:
    flat = re.sub(r"\s+", " ", texts(made / "out")["pdf"])
    assert "Test Dice 0.8333 (95 % bootstrap 0.7333 to 0.9333, n = 3)" in flat
    assert not re.search(r"\d\.\d{8}", flat)


def test_a_second_network_stands_beside_the_first(tmp_path: Path) -> None:
    scores = {"scores": 2 * (0.5, 0.7, 0.9)}
    folder = write_run(tmp_path / "runs", "03", **scores, rival="unet", model="resnet34_unet")
    write_training(folder / "unet", "dice", 2 * (0.3, 0.5, 0.7))
    list(build_report(tmp_path / "out", str(tmp_path / "runs"), formats=["html"]))
    said = re.sub(r"\s+", " ", (tmp_path / "out" / "report.html").read_text("utf-8"))
    assert "The second network, unet, was trained in the same way: test Dice 0.500" in said
    assert "That is −20.00 points from the first (95 % interval −20.00 to −20.00, over 6 test images" in said


def test_a_rebuild_changes_no_byte_and_no_word_of_the_students(made: Path, tmp_path: Path) -> None:
    kept = [path for path in (made / "out").rglob("*") if path.is_file()]
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in kept}
    list(build_report(made / "out", str(made / "runs")))
    for path, (content, moment) in before.items():
        assert path.read_bytes() == content, path
        if path.suffix in (".md", ".yaml"):
            assert path.stat().st_mtime_ns == moment


def test_what_is_not_finished_is_named(made: Path, runs: Path, tmp_path: Path) -> None:
    assert "quick-seed2" in texts(made / "out")["html"]
    lines = list(build_report(tmp_path / "out", str(runs), formats=["tex"]))
    assert lines[0].startswith("left out  02_liver_unet/quick-seed2: it is no finished run but failed (it broke)")
    assert lines[1:] == [str(tmp_path / "out" / "report.tex")]


def test_one_lab_alone_and_runs_by_name(made: Path, tmp_path: Path) -> None:
    list(build_report(tmp_path / "a", str(made / "runs"), labs=["04"], formats=["html"]))
    text = (tmp_path / "a" / "report.html").read_text("utf-8")
    assert "block CNN" in text
    assert "liver" not in text
    (folder,) = (made / "runs" / "05_digit_on_photo").iterdir()
    list(build_report(tmp_path / "b", folders=[folder], formats=["html"]))
    assert "A digit on a photo" in (tmp_path / "b" / "report.html").read_text("utf-8")


def test_a_limit_of_pages_is_kept_or_said_to_be_too_low(made: Path, tmp_path: Path) -> None:
    full = len(PdfReader(made / "out" / "report.pdf").pages)
    list(build_report(tmp_path / "out", str(made / "runs"), pages=full - 2, formats=["pdf"]))
    assert len(PdfReader(tmp_path / "out" / "report.pdf").pages) <= full - 2
    with pytest.raises(RequestError, match=r"shortest form has \d+ pages, more than 1"):
        list(build_report(tmp_path / "none", str(made / "runs"), pages=1, formats=["pdf"]))
    assert not (tmp_path / "none" / "report.pdf").exists()


def test_a_run_of_no_lab_of_ours_is_left_out(runs: Path, tmp_path: Path) -> None:
    manifest = write_run(runs, "01") / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"01_mnist_resnet18"', '"99_rockets"'))
    lines = list(build_report(tmp_path / "out", str(runs), formats=["tex"]))
    assert any("99_rockets" in line and line.startswith("left out") for line in lines)


def test_names_in_a_run_folder_are_text_and_nothing_else(tmp_path: Path) -> None:
    evil = (
        '<script>alert(1)</script> $\\input{/etc/passwd}$ `x` | \\write18{ls} #raw "quoted" [link](http://x) ~~z~~ @me'
    )
    manifest = write_run(tmp_path / "runs", loss=evil) / "manifest.json"
    manifest.write_text(manifest.read_text("utf-8").replace("made-up slices", "<b>$\\\\frac</b> | *made-up*"), "utf-8")
    write_run(tmp_path / "runs", seed=1)
    write_run(tmp_path / "runs", seed=2)  # now the odd loss is the change whose effect is told
    list(build_report(tmp_path / "out", str(tmp_path / "runs")))
    page = (tmp_path / "out" / "report.html").read_text("utf-8")
    assert "<script>alert" not in page
    assert "<b>$" not in page
    assert "root:" not in page
    assert "\\input{/etc" not in (tmp_path / "out" / "report.tex").read_text("utf-8")
    assert "\\frac" in texts(tmp_path / "out")["docx"]


def test_answers_stand_in_the_report_as_text(tmp_path: Path) -> None:
    folder, known = write_run(tmp_path / "runs"), exercises_of("02_liver_unet")
    right = known["dice_from_counts"].judge(known["dice_from_counts"].solution)
    opinion = next(name for name, exercise in known.items() if isinstance(exercise, Question))
    verdicts = [known["expected_dice"].judge(0.8, 0.7), right, known[opinion].judge(f"# Because <b> $x$ {'so ' * 200}")]
    record = {"exercises": [verdict.model_dump() for verdict in verdicts]}
    (folder / "exercises.json").write_text(json.dumps(record), "utf-8")
    for name, guess in (("earlier", None), ("later", 5)):  # of two analyses the one with answers
        verdict = exercises_of("06_analysis")["pull_of_dice"].judge(guess, 40)
        (tmp_path / "runs" / "06_analysis" / name).mkdir(parents=True)
        kept = tmp_path / "runs" / "06_analysis" / name / "exercises.json"
        kept.write_text(json.dumps({"exercises": [verdict.model_dump()]}), "utf-8")
    list(build_report(tmp_path / "out", str(tmp_path / "runs")))
    others = len(exercises_of("06_analysis"))
    for form, text in texts(tmp_path / "out").items():
        flat = re.sub(r"\s+", " ", text)
        assert f"{others} exercises, as the checks in the notebook found them: {others - 1} not attempted" in flat, form
        assert f"{len(known)} exercises, as the checks in the notebook found them: 1 right, " in flat, form
        assert f"{len(known) - 3} not attempted" in flat, form
        assert "Predicted 0.8, measured 0.7: 0.1 too high." in flat, form
        assert "# Because <b> $x$ so so" in flat or form == "tex", form


@pytest.mark.parametrize("record", ["", "{}", '{"exercises": [{"exercise": "expected_dice", "state": "genius"}]}'])
def test_a_record_of_exercises_that_cannot_be_read_leaves_them_out(tmp_path: Path, record: str) -> None:
    folder = write_run(tmp_path / "runs")
    (folder / "exercises.json").write_text(record, "utf-8")
    assert exercises_part("02_liver_unet", folder) == ""


def own(folder: Path, text: str) -> str:
    """What the report takes from a student's file."""
    make_forms(folder, [])
    (folder / "text" / "objective.md").write_text(text, "utf-8")
    return paragraphs(folder, "objective", level=2, figures=folder / "taken")


def test_a_students_text_cannot_leave_its_place(tmp_path: Path) -> None:
    make_forms(tmp_path, ["02_liver_unet"])
    assert paragraphs(tmp_path, "objective", level=2, figures=tmp_path) == ""
    found = own(tmp_path, "# Big\n\n#### Deep\n\n<script>x</script> \\input{y}\n\n```\nopen\n")
    assert re.findall(r"^#+ \w+", found, re.MULTILINE) == ["## Big", "## Deep"]
    again = pypandoc.convert_text(found + "\n\n## Next\n", "html", format=MARKDOWN)
    assert "<script>" not in again
    assert ">Next</h2>" in again


def test_a_students_picture_is_taken_from_beside_the_text(tmp_path: Path) -> None:
    (tmp_path / "text").mkdir()
    Image.new("RGB", (20, 10)).save(tmp_path / "text" / "my photo.png")
    for name, colour in (("图一.png", "red"), ("图二.png", "blue")):
        Image.new("RGB", (20, 10), colour).save(tmp_path / "text" / name)
    both = '![One.](图一.png){alt="red"}\n\n![Two.](图二.png){alt="blue"}\n'
    found = own(tmp_path, f'![Mine.](<my photo.png>){{#fig-mine alt="a black field"}}\n\n{both}')
    taken = re.findall(r"figures/(own-\S+\.png)", found)
    assert taken[0].startswith("own-my-photo-")
    colours = [Image.open(tmp_path / "taken" / name).getpixel((0, 0)) for name in taken]
    assert colours == [(0, 0, 0), (255, 0, 0), (0, 0, 255)]
    for text, sentence in {
        "![Mine.](<my photo.png>)": "figure my photo.png has no description .* write .*<my photo.png>",
        "Words ![Mine.](图一.png) and more": "image 图一.png has no caption or stands among words: give it a paragraph",
        "A $\\frac{a}{b$": r"formula .* cannot be set in all formats: look at its braces",
        "A [link](y.md)": "link to 'y.md' leads nowhere",
    }.items():
        with pytest.raises(RequestError, match=f"objective.md: The {sentence}"):
            own(tmp_path, text)
    for name in ("../secret.png", "/etc/passwd", "missing.png", "http://example.org/x.png"):
        with pytest.raises(RequestError, match=r"objective.md: the picture .* is not in"):
            own(tmp_path, f'![Mine.]({name}){{alt="x"}}\n')


@pytest.mark.parametrize("text", ["$\\frac{$", "[^1]: never used", "[x](nowhere.md)", "[](#fig-none)", "![](a.png)"])
def test_what_cannot_be_set_is_one_sentence(runs: Path, tmp_path: Path, text: str) -> None:
    make_forms(tmp_path, [])
    (tmp_path / "text" / "objective.md").write_text(text, "utf-8")
    with pytest.raises(RequestError) as error:
        list(build_report(tmp_path, str(runs), formats=["tex"]))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "report.tex").exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\xff\xfe", "not a YAML file"),
        (b"title: [", "not a YAML file"),
        (b"title: x\ncourse: CV 101: Seeing", "line 2: mapping values are not allowed here; text with a colon"),
        (b"tilte: x", "tilte cannot be used"),
        (b"title: [a, b]", "must be a text"),
        (b"- a\n- b", "cannot be used"),
    ],
)
def test_a_bad_settings_file_is_one_sentence_and_nothing_is_written(
    runs: Path, tmp_path: Path, content: bytes, words: str
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "report.yaml").write_bytes(content)
    with pytest.raises(RequestError, match=words):
        list(build_report(out, str(runs), formats=["tex"]))
    assert [path.name for path in out.iterdir()] == ["report.yaml"]


def test_a_bad_paragraph_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="more than 1,000,000 bytes"):
        own(tmp_path, "x" * 1_000_001)
    (tmp_path / "text" / "objective.md").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RequestError, match="save it as UTF-8"):
        paragraphs(tmp_path, "objective", level=2, figures=tmp_path)


def test_settings_are_made_once(tmp_path: Path) -> None:
    assert read_settings(tmp_path).title == "Computer vision lab report"
    (tmp_path / "report.yaml").write_text("author: Ada\nnumber: 12\n")
    found = read_settings(tmp_path)
    assert (found.author, found.number) == (["Ada"], "12")
    assert (tmp_path / "report.yaml").read_text() == "author: Ada\nnumber: 12\n"


LINE = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=30)


@settings(max_examples=20, deadline=None)
@given(st.lists(LINE, min_size=1, max_size=30))
def test_plain_text_stays_as_it_is(lines: list[str]) -> None:
    table = "| head |\n|---|\n" + "".join(f"| x{markdown.plain(line)} |\n" for line in lines)
    page = pypandoc.convert_text(table, "html", format=f"{MARKDOWN}-smart", extra_args=["--wrap=none"])
    cells = [html.unescape(re.sub(r"<[^>]+>", "", cell)) for cell in re.findall(r"<td.*?>(.*?)</td>", page)]
    assert cells == [f"x{line}" for line in lines]


def test_the_section_of_a_lab_shows_published_data_first_then_exercises_then_what_was_run_most(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    for seed in (0, 1):
        write_run(root, seed=seed)
    write_run(root, loss="dice")
    assert [run.name for run in document.main_runs(find_runs(root)[0])] == ["02_liver_unet/quick-seed0"]
    done = write_run(root, seed=3, width=8)
    (done / "exercises.json").write_text('{"exercises": [{"exercise": "dice_loss", "state": "right"}]}')
    assert [run.folder for run in document.main_runs(find_runs(root)[0])] == [done]
    write_run(root, seed=5, experiment="best", obstacle="")
    assert [run.name for run in document.main_runs(find_runs(root)[0])] == ["02_liver_unet/best-seed5"]


def test_the_command_of_a_run_repeats_it(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    write_run(root, "02", seed=3, experiment="one_minute", obstacle="")
    write_run(root, "01", learning_rate=0.5, class_names="a b,c", epochs=3)
    commands = [document.command_of(run) for run in find_runs(root)[0]]
    assert (
        commands[0] == "labkit run 01 -e quick -p seed 0 -p class_names 'a b,c' -p learning_rate 0.5 -p source sample"
    )
    assert commands[1].startswith("labkit run 02 -e one_minute -p seed 3")
    assert commands[1].endswith("--data DIR")


def test_the_command_says_what_it_left_out_and_wrote(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    app(["report", "--runs", str(runs), "--out", str(tmp_path / "out"), "--format", "docx"], standalone_mode=False)
    said = capsys.readouterr().out.splitlines()
    assert said[-1] == str(tmp_path / "out" / "report.docx")
    assert zipfile.is_zipfile(said[-1])
    failed = write_run(tmp_path / "failed", "02", status="failed")
    trained = [name[:2] for name in LABS if name not in READERS]
    for words, sentence in (
        (["--runs", str(tmp_path / "empty")], "There is no finished run in"),
        (["--runs", str(runs), "--lab", "09"], "There is no lab '09'"),
        (["--runs", str(runs), "--lab", "06"], f"There is no lab '06' that trains: give any of {', '.join(trained)}."),
        (["--runs", str(runs), "--lab", "01"], "no finished run of lab 01"),
        (["--runs", str(failed.parents[1])], f"/{failed.name} was left out: it is no finished run"),
    ):
        with pytest.raises(SystemExit) as ended:
            app(["report", *words, "--out", str(tmp_path / "other")], standalone_mode=False)
        assert ended.value.code == 2
        assert sentence in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("notebook", [name for name in LABS if name not in READERS])
def test_every_lab_has_its_text_its_figures_and_a_reason_for_each_parameter(notebook: str) -> None:
    text = lab_text(notebook)
    assert text.title
    assert text.background
    assert text.references
    source = (project_root() / "notebooks" / f"{notebook}.ipynb").read_text("utf-8")
    for place, captions in text.figures.items():
        assert place in ("data", "training", "analysis")
        assert all(f'nb.figure(run, \\"{name}\\"' in source for name in captions), place
        assert all(caption.endswith(".") for caption in captions.values())
    fields = set(lab_of(notebook).Parameters.model_fields) - set(NOT_SHOWN)
    assert fields - set(reasons()) == set()


def test_reasons_are_given_for_parameters_that_are_there() -> None:
    fields = {name for lab in LABS for name in lab_of(lab).Parameters.model_fields}
    assert set(reasons()) <= fields


@pytest.mark.parametrize(
    ("obstacles", "mark"),
    [
        (("sample data", "sample data"), "sample data, not the real data set"),
        (("sample data", ""), "in part sample data"),
        (("only 3 of the 20 test images", ""), "in part not all of the published test data"),
        (("these files are not the published ones", ""), "not the published data set"),
        (("", ""), None),
    ],
)
def test_the_reports_own_figures_name_their_data(tmp_path: Path, obstacles: tuple[str, str], mark: str | None) -> None:
    for lab, obstacle in zip(("02", "03"), obstacles, strict=True):
        write_run(tmp_path / "runs", lab, obstacle=obstacle)
        write_run(tmp_path / "runs", lab, obstacle=obstacle, seed=1, loss="dice")
    list(build_report(tmp_path / "out", str(tmp_path / "runs"), formats=["tex"]))
    for name in ("scores", "effects"):
        words = re.findall("<!-- (.+?) -->", (tmp_path / "out" / "figures" / f"{name}.svg").read_text("utf-8"))
        assert [word for word in words if "data" in word and not word.startswith("Lab")] == ([mark] if mark else [])


def test_a_score_on_images_that_chose_the_epoch_says_so_in_every_form(tmp_path: Path) -> None:
    write_run(tmp_path / "runs", "01", select_on="test")
    runs, left_out = find_runs(tmp_path / "runs")
    for detail in (SHORTEST, FULL):
        source = document.document(runs, left_out, Settings(), tmp_path, tmp_path, detail)
        assert source.count("These images have chosen the epoch, too") >= 1


def test_an_empty_title_is_none_and_the_date_is_that_of_the_newest_run(tmp_path: Path) -> None:
    for seed in range(3):
        write_run(tmp_path / "runs", seed=seed)
    (tmp_path / "report.yaml").write_text("title:\nauthor:\n")
    front = document.front(read_settings(tmp_path), find_runs(tmp_path / "runs")[0], FULL)
    assert "title: Computer vision lab report\n" in front
    assert "date: 3 January 2026\n" in front


def test_a_rival_that_stopped_early_is_a_problem_met(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "runs", "03", rival="unet", epochs=4)
    write_training(folder / "unet", "dice", (0.5, 0.6, 0.7), epochs=2)
    said = document.problems(*find_runs(tmp_path / "runs"))
    assert said.count("was stopped early") == 1
    assert "/unet` was stopped early, after 2 of 4 epochs" in said
