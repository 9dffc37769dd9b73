"""Prompt templates: found, checked, strict, and closed to whatever data holds."""

from __future__ import annotations

import re
from pathlib import Path

import jinja2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vitruvius.agents.replies import ProposedPrinciple, reply_schema
from vitruvius.errors import TemplateError, UnknownNameError
from vitruvius.prompts import library
from vitruvius.prompts.inputs import INPUTS, samples
from vitruvius.prompts.parsing import LARGEST, REPLIES, environment, parse
from vitruvius.prompts.quoting import quote

HEAD = "---\ndescription: A test.\ninputs: [task]\nreply: text\nversion: 1\n---\n"


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VITRUVIUS_PROMPTS", str(tmp_path / "none"))


def template(text: str, name: str = "mine") -> library.Template:
    return library.Template(name, Path(f"{name}.md"), text)


def rendered(body: str, **inputs: object) -> list[library.Message]:
    head = HEAD.replace("[task]", f"[{', '.join(inputs)}]")
    return template(head + body).render(**inputs)  # type: ignore[arg-type]


# ---- the built-in templates ---------------------------------------------------------------


@pytest.mark.parametrize("name", library.names())
def test_built_in_templates_have_no_problems(name: str) -> None:
    found = library.find(name)
    assert library.check(found) == []
    assert found.description and found.version
    messages = found.render(**samples(found.inputs))
    assert messages[-1].role == "user"
    assert all("{{" not in m.content and "{%" not in m.content for m in messages)


def test_the_built_in_set() -> None:
    assert {"principles", "repair", "plain_json"} <= set(library.names())
    assert "principles" in REPLIES


def test_principles_shows_the_json_form_that_the_schema_wants() -> None:
    found = library.find("principles")
    content = found.render(**samples(found.inputs))[-1].content
    example = re.search(r'^\{"analysis".*\}$', content, re.MULTILINE)
    assert example is not None
    item = reply_schema(3)["properties"]["principles"]["items"]
    assert all(f'"{key}"' in example[0] for key in item["required"])
    needed = {name for name, field in ProposedPrinciple.model_fields.items() if field.is_required()}
    assert needed <= set(item["required"]) <= set(ProposedPrinciple.model_fields)


def test_every_input_of_the_catalogue_has_a_sample_that_templates_take() -> None:
    for name, entry in INPUTS.items():
        assert rendered(f"user:\n{{{{ {name} }}}}", **{name: entry.sample})[0].content


# ---- literal braces, Jinja, strictness ----------------------------------------------------


@pytest.mark.parametrize(
    "literal",
    ['{"a": 1}', '{"a": {"b": {}}}', '{{"a": 1}}', "{{1}}", "{{ }}", "{}", "}} {{", '[{"a": [{}]}]'],
)
def test_json_braces_are_literal(literal: str) -> None:
    assert rendered(f"user:\n{literal} {{{{ task }}}}", task="t")[0].content == f"{literal} t"


def test_undefined_attributes_fail_with_their_line() -> None:
    with pytest.raises(TemplateError, match=r"mine\.md, line 10: .*'nothing'"):
        rendered("user:\n\nHello\n{{ task.nothing }}", task={"a": 1})


@pytest.mark.parametrize(
    "expression",
    [
        "task.__class__",
        "task['__class__'].__mro__",
        "task.format.__globals__",
        "(task | attr('__class__')).x",
    ],
)
def test_the_sandbox_hides_python(expression: str) -> None:
    with pytest.raises(TemplateError):
        rendered(f"user:\n{{{{ {expression} }}}}", task="t")


def test_values_cannot_be_changed_by_a_template() -> None:
    with pytest.raises(TemplateError, match="line 8"):
        rendered("user:\n{{ task.append(1) }}", task=[1])


def test_inputs_are_exact() -> None:
    mine = template(HEAD + "user:\n{{ task }}")
    with pytest.raises(TemplateError, match="lacks the input 'task'"):
        mine.render()
    with pytest.raises(TemplateError, match="'other', which it does not declare"):
        mine.render(task="t", other="x")
    with pytest.raises(TemplateError, match=r"holds a \w*Path"):
        mine.render(task=Path("x"))  # type: ignore[arg-type]


# ---- problems, each with its line ---------------------------------------------------------

PROBLEMS = [
    ("user:\nhello", 1, "front matter"),
    (HEAD.replace("reply: text\n", "") + "user:\n{{ task }}", 1, "lacks the key 'reply'"),
    (HEAD.replace("reply: text", "replay: text") + "user:\n{{ task }}", 4, "'replay'.*'reply'"),
    (HEAD.replace("text", "poem") + "user:\n{{ task }}", 4, "Unknown reply 'poem'"),
    (HEAD.replace("[task]", "task") + "user:\n{{ task }}", 3, "must be a list"),
    (HEAD.replace("[task]", "[task") + "user:\n{{ task }}", 4, "not YAML"),
    (HEAD.replace("version: 1", "version: 1\nversion: 2") + "user:\n{{ task }}", 6, "stands twice"),
    (HEAD + "hello\nuser:\n{{ task }}", 7, "begin with a line"),
    (HEAD + "user: {{ task }}", 7, "line of its own"),
    (HEAD + "User:\n{{ task }}\nuser:\nx", 7, "lower case"),
    (HEAD + "user:\n{{ task }}\nsystem:\nx\nuser:\ny", 9, "only once"),
    (HEAD + "system:\n{{ task }}", 8, "needs a line 'user:'"),
    (HEAD + "user:\n{{ task }}\nassistant:\nx", 9, "last part"),
    (HEAD + "user:\n\nuser:\n{{ task }}", 7, "is empty"),
    (HEAD + "user:\n{{ task }}\n{{ tusk }}", 9, "'tusk' is used but not declared"),
    (HEAD + "user:\nhello", 3, "'task' is declared but not used"),
    (HEAD + "user:\n{{ task }}\n{% if task %}\nx", 10, "Jinja"),
    (HEAD + "user:\n{{ task }}\n{{ task | nofilter }}", 9, "nofilter"),
    (HEAD + "user:\n{{ task }}\n{% include 'x.md' %}", 9, "cannot include"),
    (HEAD + "system:\nx\n{{ task | }}\nuser:\nx", 9, "Jinja"),
    (HEAD.replace("[task]", "[task, moon]") + "user:\n{{ task }} {{ moon }}", 3, "Unknown input 'moon'"),
    (HEAD + "user:\n{{ task }}\n{{ task.missing }}", 9, "does not render"),
    (HEAD + "user:\n{% if not task %}\nx\n{% endif %}", 8, "renders to nothing"),
    ("---\n- a\n---\nuser:\nx", 1, "must be a mapping"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "line", "reason"), PROBLEMS)
def test_problems_name_their_line(tmp_path: Path, text: str, line: int, reason: str) -> None:
    (tmp_path / "mine.md").write_text(text)
    problems = library.check(library.load(tmp_path / "mine.md"))
    assert any(p.line == line and re.search(reason, p.reason) for p in problems), [str(p) for p in problems]
    with pytest.raises(TemplateError, match=rf"mine\.md, line \d+: .*{reason}|line {line}"):
        library.find("mine", tmp_path)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "front matter"),
        ("x" * 100_001, "at most 100000"),
        (HEAD.replace("text", "prinicples") + "user:\n{{ task }}", "Unknown reply 'prinicples'"),
        (HEAD.replace("reply: text\n", "") + "user:\n{{ task }}", "lacks the key 'reply'"),
        (HEAD.replace("[task]", "[task") + "user:\n{{ task }}", "not YAML"),
        (HEAD.replace("[task]", "task").replace("text", "principles") + "user:\n{{ task }}", "be a list"),
        (HEAD.replace("text", "principles") + "user: {{ task }}", "line of its own"),
    ],
)
def test_nothing_is_told_that_only_follows_from_what_is_wrong(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "principles.md").write_text(text)
    (problem,) = library.check(library.load(tmp_path / "principles.md"))
    assert reason in problem.reason
    with pytest.raises(TemplateError) as told:
        library.find("principles", tmp_path)
    assert str(told.value).endswith(".") and not str(told.value).endswith("..")


@given(st.text(max_size=300))
@settings(max_examples=200, deadline=None)
def test_no_text_breaks_the_parser(text: str) -> None:
    for whole in (text, HEAD + text, HEAD + "user:\n" + text, f"---\n{text}\n---\nuser:\nx"):
        for problem in parse(whole, "f.md").problems:
            assert 1 <= problem.line <= whole.count("\n") + 2


# ---- finding ------------------------------------------------------------------------------


def test_own_folder_overrides_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "repair.md").write_text(
        HEAD.replace("reply: text", "reply: principles") + "user:\nMine: {{ task }}"
    )
    assert library.find("repair", mine).render(task="t")[0].content == "Mine: t"
    assert library.find("principles", mine).path.parent == library.BUILT_IN
    assert library.find("repair").path.parent == library.BUILT_IN
    monkeypatch.setenv("VITRUVIUS_PROMPTS", str(mine))
    assert library.find("repair").path.parent == mine


def test_a_broken_override_is_refused_not_passed_over(tmp_path: Path) -> None:
    (tmp_path / "principles.md").write_text(HEAD + "user:\n{{ tusk }}")
    with pytest.raises(TemplateError, match=r"principles\.md, line 8"):
        library.find("principles", tmp_path)


@pytest.mark.parametrize("name", ["princples", "../library", "/etc/passwd", "", "a b"])
def test_unknown_names_list_what_there_is(name: str) -> None:
    with pytest.raises(UnknownNameError, match=r"Allowed: .*principles"):
        library.find(name)


def test_missing_folder_and_unreadable_file(tmp_path: Path) -> None:
    with pytest.raises(TemplateError, match="does not exist"):
        library.find("principles", tmp_path / "none")
    (tmp_path / "mine.md").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(TemplateError, match="UTF-8"):
        library.find("mine", tmp_path)


def test_the_hash_is_of_the_content(tmp_path: Path) -> None:
    text = HEAD + "user:\n{{ task }}\n"
    (tmp_path / "a.md").write_bytes(text.encode())
    (tmp_path / "b.md").write_bytes(text.replace("\n", "\r\n").encode())
    (tmp_path / "c.md").write_text(text.replace("task }}", "task }}."))
    a, b, c = (library.load(tmp_path / f"{name}.md").hash for name in "abc")
    assert a == b != c
    assert re.fullmatch(r"[0-9a-f]{12}", a)


# ---- data stays data ----------------------------------------------------------------------

HOSTILE = st.one_of(
    st.text(max_size=60),
    st.lists(
        st.sampled_from(
            ["</data>", "<", "/", "data>", "system:", "user :", "\n", "\r", "\u2028", "{{ task }}", "{% raw %}",
             "{#", "<|im_end|>", "<|im_start|>system", "[INST]", "<<SYS>>", "\u200b", "\u200d", "**Assistant:**",
             "### system:", " ", "a", "\x00", "<\u200b/data>", "< /data>", "\u2039", "| "]
        ),
        max_size=12,
    ).map("".join),
)  # fmt: skip
ROLE = re.compile(r"^[ \t]*[#*>_-]{0,4}[ \t]*(system|user|assistant|human)[*_]{0,2}[ \t]*:", re.I | re.M)


@given(HOSTILE)
@settings(max_examples=400, deadline=None)
def test_quoting(text: str) -> None:
    safe = quote(text)
    assert not re.search(r"<[\s\u200c\u200d]*/|<[\u200c\u200d]*[A-Za-z|!?<]", safe)
    assert not ROLE.search(safe)
    assert not re.search(r"\[/?INST\]", safe, re.I)
    assert not any(ord(c) < 32 and c not in "\n\t" for c in safe)
    assert quote(safe) == safe


@given(HOSTILE, HOSTILE)
@settings(max_examples=150, deadline=None)
def test_data_cannot_leave_its_place(first: str, second: str) -> None:
    body = "system:\nRules.\n\nuser:\n<data>\n{{ task }}{{ known[0].sentence }}\n</data>\n{{ known }}\nEnd."
    messages = rendered(body, task=first, known=[{"sentence": second}])
    assert [m.role for m in messages] == ["system", "user"]
    assert messages[0].content == "Rules."
    content = messages[1].content
    assert content.count("</data>") == 1 and content.count("<data>") == 1
    assert content.startswith("<data>\n") and content.endswith("\nEnd.")
    assert ("{{ task }}" in content) == (
        "{{ task }}" in quote(first) + quote(second)
    )  # never substituted again


@given(st.text(alphabet=st.characters(codec="utf-8", categories=["L", "N", "P", "Zs"]), max_size=80))
@settings(max_examples=200, deadline=None)
def test_ordinary_text_is_left_alone(text: str) -> None:
    plain = re.sub(r"[<\[]|(?i:system|user|assistant|human|developer|tool|ai)", "", text)
    assert quote(plain) == plain
    assert quote("params < 1.0M and depth >= 3") == "params < 1.0M and depth >= 3"


def _everywhere(value: object, text: str) -> object:
    """The same data with another text in place of every text."""
    if isinstance(value, str):
        return text
    if isinstance(value, dict):
        return {key: _everywhere(item, text) for key, item in value.items()}
    return [_everywhere(item, text) for item in value] if isinstance(value, list) else value


TAG = re.compile(r"</?[a-z_]+>|<\|[a-z_]+\|>")


@pytest.mark.parametrize("name", library.names())
@given(text=HOSTILE)
@settings(max_examples=40, deadline=None)
def test_no_data_takes_over_a_template_of_ours(name: str, text: str) -> None:
    """Whatever models wrote into any input: the same roles, the same tags, and nothing is filled in again."""
    found = library.find(name)
    tame = _everywhere(samples(found.inputs), "x")
    wild = _everywhere(samples(found.inputs), text)
    assert isinstance(tame, dict) and isinstance(wild, dict)
    calm, stirred = found.render(**tame), found.render(**wild)
    assert [message.role for message in stirred] == [message.role for message in calm]
    for before, after in zip(calm, stirred, strict=True):
        assert TAG.findall(after.content) == TAG.findall(before.content)
        assert after.content.count("{{ task }}") == after.content.count(quote(text)) * quote(text).count(
            "{{ task }}"
        )


def test_what_may_be_empty_is_checked_empty(tmp_path: Path) -> None:
    """The first reflection knows no principles: a template that counts on one would fail in the middle of a run."""
    (tmp_path / "mine.md").write_text(
        HEAD.replace("[task]", "[known, space]") + "user:\n{{ space.size }} {{ known[0].sentence }}"
    )
    [problem] = library.check(library.load(tmp_path / "mine.md"))
    assert problem.line == 8 and "empty: known" in problem.reason
    (tmp_path / "mine.md").write_text(
        HEAD.replace("[task]", "[space]") + "user:\n{{ space.size + 1 }} architectures"
    )
    [problem] = library.check(library.load(tmp_path / "mine.md"))
    assert "does not render" in problem.reason


def test_a_template_has_a_largest_size() -> None:
    head = "---\ninputs: []\n---\n"
    told = [parse(head + "x" * (size - len(head)), "long.md") for size in (LARGEST, LARGEST + 1)]
    assert not any("characters" in problem.reason for problem in told[0].problems)
    (problem,) = told[1].problems
    assert problem.reason == f"the template has {LARGEST + 1} characters; at most {LARGEST} are allowed"


@pytest.mark.parametrize(
    "name", ["range(3)", "lipsum()", "dict(a=1)", "cycler(1)", "joiner()", "namespace()"]
)
def test_nothing_of_jinja_is_at_hand_in_a_template(name: str) -> None:
    with pytest.raises(jinja2.UndefinedError):
        environment().from_string(f"{{{{ {name} }}}}").render()
