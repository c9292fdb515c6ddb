"""How models show themselves in Jupyter and in rich: a tree of safe text, in which no secret is."""

from __future__ import annotations

import io
import re
import subprocess
import sys
import typing
from datetime import datetime, timezone
from html.parser import HTMLParser
from typing import Any

import attrs
import pytest
import rich.console
from hypothesis import given
from hypothesis import strategies as st
from IPython.core.formatters import DisplayFormatter

from cp_thirdparty import models
from cp_thirdparty._rendering.tree import _CSS
from cp_thirdparty.converter import structure
from cp_thirdparty.enums import ActionCategory, ArtifactLocationType, EncryptionKeyType
from cp_thirdparty.models import (
    ActionConfiguration,
    ActionTypeId,
    Artifact,
    ArtifactCredentials,
    ArtifactLocation,
    CurrentRevision,
    EncryptionKey,
    ExecutionDetails,
    JobData,
    JobDetails,
    PipelineContext,
    S3Location,
    StageContext,
    ThirdPartyJob,
)
from cp_thirdparty.testing import LocalCodePipeline, samples
from cp_thirdparty.testing.strategies import instances

_MODELS: list[type[Any]] = [getattr(models, name) for name in models.__all__]
_STEM = "xMARKERx"
_MASK = "**********"
_TAGS = {
    "b",
    "bdi",
    "details",
    "div",
    "li",
    "span",
    "style",
    "summary",
    "table",
    "tbody",
    "td",
    "th",
    "thead",
    "tr",
    "ul",
}
_ROOT_CLASS = "cp-thirdparty tex2jax_ignore mathjax_ignore"
_CLASSES = {"cp-placeholder", "cp-name", "cp-note", "cp-secret", "cp-table", "cp-value", _ROOT_CLASS}


class _Read(HTMLParser):
    """What a browser would make of it: every tag closed in its turn, and the text apart from the style."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.attributes: set[tuple[str, str | None]] = set()
        self.styles: list[str] = []
        self.texts: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Open a tag."""
        self.open.append(tag)
        self.tags.add(tag)
        self.attributes.update(attrs)

    def handle_endtag(self, tag: str) -> None:
        """Close the tag that was opened last."""
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Keep a string."""
        assert self.open, "all text is within our element"
        (self.styles if self.open[-1] == "style" else self.texts).append(data)

    def unknown_decl(self, data: str) -> typing.NoReturn:
        """Refuse what is neither a tag nor a string."""
        raise AssertionError(data)

    def handle_comment(self, data: str) -> typing.NoReturn:
        """Refuse it."""
        raise AssertionError(data)

    def handle_decl(self, decl: str) -> typing.NoReturn:
        """Refuse it."""
        raise AssertionError(decl)

    def handle_pi(self, data: str) -> typing.NoReturn:
        """Refuse it."""
        raise AssertionError(data)


def _html(model: Any) -> str:
    html: str = model._repr_html_()
    return html


def _text(model: Any) -> str:
    return "".join(_Read(_html(model)).texts)


def _in_rich(*values: Any, width: int = 400) -> str:
    console = rich.console.Console(file=io.StringIO(), width=width)
    console.print(*values)
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


def _job_with_markers() -> JobDetails:
    """Make a job with a marker in each secret."""
    return samples.job_details(
        configuration={"ApiKey": f"{_STEM}-configuration", "ProjectName": f"{_STEM}-plain"},
        credentials=ArtifactCredentials(
            access_key_id=f"{_STEM}-key-id", secret_access_key=f"{_STEM}-secret", session_token=f"{_STEM}-session"
        ),
    )


# --- the tree --------------------------------------------------------------------------------------------------------

_JOB = samples.job_details(
    configuration={"ApiKey": "k"},
    output_artifacts=[samples.artifact("Report", bucket_name="b", object_key="Report/1", revision="7")],
    encryption_key=EncryptionKey(id="alias/demo", type=EncryptionKeyType.KMS),
)
_TREE = """\
JobDetails
├── id: b2a1c0de-0000-4000-8000-000000000002
├── data
│   ├── action_type_id: Test / ThirdParty / ExampleScan / 1
│   ├── action_configuration
│   │   └── ApiKey: **********
│   ├── pipeline_context: example-pipeline → Test → Scan
│   │   └── action_execution_id: b2a1c0de-0000-4000-8000-000000000003
│   ├── input_artifacts
│   │   └──  name          revision  location
│   │        SourceOutput  None      s3://codepipeline-us-east-1-000000000000/example-pipeline/SourceOutp/EXAMPLE
│   ├── output_artifacts
│   │   └──  name    revision  location
│   │        Report  7         s3://b/Report/1
│   ├── artifact_credentials
│   │   ├── access_key_id: **********
│   │   ├── secret_access_key: **********
│   │   └── session_token: **********
│   ├── continuation_token: None
│   └── encryption_key: KMS alias/demo
└── nonce: 3
"""


def _words(text: str) -> str:
    return re.sub(r"[\s├└│─]+", "", text)


def test_a_job_is_a_tree_in_rich() -> None:
    """Rich prints a job as a tree by field names, with masks, tables of artifacts and the path in one line."""
    assert "".join(f"{line.rstrip()}\n" for line in _in_rich(_JOB).splitlines()) == _TREE


def test_a_job_is_the_same_tree_in_a_notebook() -> None:
    """The HTML of a job has the text of the tree that rich prints."""
    assert _words(_text(_JOB)) == _words(_TREE)


@pytest.mark.parametrize("model", _MODELS)
def test_every_model_shows_itself(model: type[Any]) -> None:
    """Each class of `models` has both methods, so a new one without them fails by name."""
    assert callable(model._repr_html_)
    assert callable(model.__rich__)


_ONE_LINE = [
    (
        ActionTypeId(category=ActionCategory("New"), owner="AWS", provider="p", version="2"),
        "ActionTypeId: New / AWS / p / 2",
    ),
    (S3Location(bucket_name="b", object_key="k"), "S3Location: s3://b/k"),
    (ArtifactLocation(), "ArtifactLocation: None"),
    (ArtifactLocation(type=ArtifactLocationType.S3), "ArtifactLocation: S3"),
    (ArtifactLocation(s3_location=S3Location(bucket_name="b", object_key="k")), "ArtifactLocation: s3://b/k"),
    (
        ArtifactLocation(type=ArtifactLocationType("Tape"), s3_location=S3Location(bucket_name="b", object_key="k")),
        "ArtifactLocation: Tape s3://b/k",
    ),
    (PipelineContext(), "PipelineContext: None"),
    (PipelineContext(pipeline_name="p"), "PipelineContext: p"),
    (PipelineContext(pipeline_name="p", stage=StageContext(name="s")), "PipelineContext: p → s"),
    (PipelineContext(pipeline_arn="arn:p"), "PipelineContext: Nonepipeline_arn: arn:p"),
    (ActionConfiguration(), "ActionConfiguration: {}"),
    (ActionConfiguration(configuration={"A": "x", "B": "y"}), f"ActionConfigurationA: {_MASK}B: {_MASK}"),
    (ThirdPartyJob(client_id="c", job_id=""), "ThirdPartyJobclient_id: cjob_id: ''"),
    (
        ExecutionDetails(percent_complete=5),
        "ExecutionDetailssummary: Noneexternal_execution_id: Nonepercent_complete: 5",
    ),
    (
        CurrentRevision(revision="r", change_identifier="c", created=datetime(2026, 1, 2, 3, tzinfo=timezone.utc)),
        "CurrentRevisionrevision: rchange_identifier: ccreated: 2026-01-02 03:00:00+00:00revision_summary: None",
    ),
    (Artifact(), "Artifactname: Nonerevision: Nonelocation: None"),
]


@pytest.mark.parametrize(("model", "expected"), _ONE_LINE, ids=[expected[:40] for _, expected in _ONE_LINE])
def test_each_model_has_its_line(model: Any, expected: str) -> None:
    """Each model shows its fields, or the one line that is clearer, in both."""
    assert _text(model) == expected
    assert _words(_in_rich(model)) == _words(expected)


def test_absent_parts_are_shown() -> None:
    """A job with nothing lists each part that it could have."""
    assert _text(JobData()).count("None") == 6
    assert _text(JobData()).count("()") == 2


@pytest.mark.parametrize(("count", "expected"), [(0, "jobs (0): ()"), (1, "jobs (1)client_idjob_id")])
def test_the_jobs_of_a_poll_are_a_table(count: int, expected: str) -> None:
    """A poll returns a tuple that a notebook shows as a table; its text is that of every tuple."""
    with LocalCodePipeline() as service, service.client(in_process=True) as client:
        service.register_client("client-1", "token")
        for _ in range(count):
            service.start_action(samples.action_type_id(), client_id="client-1")
        jobs = client.poll_for_third_party_jobs(samples.action_type_id())
    assert jobs == tuple(jobs)
    assert repr(jobs) == repr(tuple(jobs))
    assert _text(jobs).startswith(expected)
    assert all(job.job_id in _html(jobs) for job in jobs)
    assert "ThirdPartyJob(" in _in_rich((samples.third_party_job(),))


def test_the_text_of_a_notebook_is_bounded() -> None:
    """Beside the tree, a notebook keeps at most 4,000 characters of a job with 500 artifacts."""
    artifacts = [samples.artifact(f"Artifact-{number}") for number in range(500)]
    details = samples.job_details(input_artifacts=artifacts)
    text = _mime_bundle(details)["text/plain"]
    assert len(repr(details)) > 50_000
    assert text == f"{repr(details)[:4_000]}… {len(repr(details)):,} characters"
    assert _mime_bundle(artifacts[0])["text/plain"] == repr(artifacts[0])


def test_what_is_not_a_model_shows_its_type_alone() -> None:
    """A wrong type in a field may hold anything, so it shows its type; a field without a repr stays away."""

    @attrs.frozen(kw_only=True)
    class Mine(JobData):
        hidden: str = attrs.field(default=_STEM, repr=False)
        odd: Any = attrs.field(factory=lambda: {"token": _STEM})
        odd_list: Any = (_STEM,)

    assert _STEM not in _html(Mine()) + _in_rich(Mine())
    odd: Any = {"token": _STEM}
    assert _text(S3Location(bucket_name=odd, object_key=odd)) == "S3Location: s3://<dict>/<dict>"
    assert _text(Mine()).endswith("odd: <dict>odd_list: <tuple>")


def test_showing_loads_no_rich_and_reading_loads_nothing() -> None:
    """A notebook without rich shows HTML; a program that shows nothing does not even load the writer."""
    program = (
        "import sys; from cp_thirdparty.testing import samples; job = samples.job_details();"
        "print('cp_thirdparty._rendering.tree' in sys.modules); job._repr_html_();"
        "print('cp_thirdparty._rendering.tree' in sys.modules, 'rich' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["False", "True", "False"]


# --- secrets ---------------------------------------------------------------------------------------------------------


def _mime_bundle(value: Any) -> dict[str, str]:
    """Return what IPython sends to a front end."""
    formatter: Any = DisplayFormatter()
    formatter.active_types = formatter.format_types
    data: dict[str, str] = formatter.format(value)[0]
    return data


@pytest.mark.parametrize("width", [20, 400])
@pytest.mark.parametrize("find", [lambda job: job, lambda job: job.data, lambda job: job.data.artifact_credentials])
def test_no_marker_is_shown(find: Any, width: int) -> None:
    """Neither the HTML nor rich's tree nor any type of IPython's mimebundle has a part of a secret, all have masks."""
    shown = find(_job_with_markers())
    bundle = _mime_bundle(shown)
    assert set(bundle) == {"text/plain", "text/html"}
    assert _STEM not in repr(bundle) + _in_rich(shown, width=width)
    for text in (*bundle.values(), _in_rich(shown, width=400)):
        assert text.count(_MASK) == 3 + 2 * hasattr(shown, "data") + 2 * hasattr(shown, "action_configuration")


def test_the_harness_finds_a_marker() -> None:
    """A marker in a field that is public is found in the HTML, the mimebundle and rich's tree."""
    job = samples.third_party_job(job_id=_STEM)
    assert _STEM in _html(job)
    assert _STEM in _in_rich(job)
    assert _STEM in _mime_bundle(job)["text/html"]


# --- untrusted names -------------------------------------------------------------------------------------------------

# An untrusted name -> the text that is shown.
_NAMES = {
    "<script>alert(1)</script>": "<script>alert(1)</script>",
    "</style><img src=x onerror=alert(1)>": "</style><img src=x onerror=alert(1)>",
    "\"' onmouseover='x": "\"' onmouseover='x",
    "&lt;b&gt; &#x202e;": "&lt;b&gt; &#x202e;",
    "]]><!--": "]]><!--",
    "[red]markup[/red] :smile:": "[red]markup[/red] :smile:",
    "pay\u202egpj.exe": "pay\\u202egpj.exe",
    "\x1b[2J\x07\r\n": "\\x1b[2J\\x07\\r\\n",
    "lone \ud800": "lone \\ud800",
    "\u2028\u00a0\ufeff": "\\u2028\\xa0\\ufeff",
    "שלב": "שלב",
    "déjà vu 漢字 🚀": "déjà vu 漢字 🚀",
}


@pytest.mark.parametrize("name", _NAMES, ids=ascii)
def test_an_untrusted_name_is_only_text(name: str) -> None:
    """Markup, quotes, controls and marks of direction are shown as text, in each place that a name can have."""
    job = samples.job_details(
        configuration={name: "k"},
        context=samples.pipeline_context(pipeline_name=name, stage_name=name, action_name=name),
        input_artifacts=[samples.artifact(name, bucket_name=name, object_key=name, revision=name)],
        continuation_token=name,
    )
    read = _Read(_html(job))
    shown = _NAMES[name]
    assert read.tags <= _TAGS
    assert "".join(read.texts).count(shown) == 9
    assert f"{shown} → {shown} → {shown}" in "".join(read.texts)
    assert _words(_in_rich(job, width=4000)).count(_words(shown)) == 9
    assert _STEM not in "".join(read.texts)


def test_long_values_are_truncated() -> None:
    """A value of a megabyte shows its beginning and its length; of a thousand artifacts or keys, fifty are shown."""
    job = samples.job_details(
        configuration={f"Key{at}": "k" for at in range(100)},
        input_artifacts=[samples.artifact(f"a{at}") for at in range(1_051)],
        continuation_token="\x00" * 1_000_000,
    )
    html = _html(job)
    assert len(html) < 60_000
    for text in (_text(job), _in_rich(job, width=4000)):
        assert text.count("… 1,000,000 characters") == 1
        assert text.count("… 50 more") == 1
        assert text.count("… 1,001 more") == 1
        assert text.count("\\x00") == 200
        assert text.count(_MASK) == 50 + 3


_anything = st.text(st.characters(), max_size=300)
_jobs = st.builds(
    samples.job_details,
    id=_anything,
    configuration=st.dictionaries(_anything, _anything.map(lambda text: _STEM + text), max_size=3),
    context=st.builds(samples.pipeline_context, pipeline_name=_anything, stage_name=_anything, action_name=_anything),
    input_artifacts=st.lists(st.builds(samples.artifact, _anything, object_key=_anything), max_size=2),
    action_type=st.builds(samples.action_type_id, category=_anything, owner=_anything),
    continuation_token=_anything,
)


@given(_jobs | st.sampled_from(_MODELS).flatmap(instances))
def test_any_model_is_well_formed(model: Any) -> None:
    """Any text gives HTML whose tags are all ours and closed in turn, and a tree in rich; neither shows a secret."""
    read = _Read(_html(model))
    assert read.tags <= _TAGS
    assert read.attributes <= {("open", None), *(("class", each) for each in _CLASSES)}
    assert read.styles == [_CSS.removeprefix("<style>").removesuffix("</style>")]
    text = "".join(read.texts)
    assert text.isprintable()
    assert _words(_in_rich(model, width=40_000)) == _words(text)
    assert _STEM not in text


def test_an_untrusted_name_is_not_mathematics() -> None:
    """Pages of notebooks typeset ``$a and $b`` unless a class forbids it, and would join spaces."""
    shown = _html(S3Location(bucket_name="b", object_key="build$1  and $2"))
    assert f'<div class="{_ROOT_CLASS}">' in shown
    assert "build$1  and $2" in "".join(_Read(shown).texts)
    assert ".cp-thirdparty bdi { white-space: pre-wrap }" in shown


def test_the_style_fetches_nothing() -> None:
    """Nothing in the style names a resource or a colour of its own, which one of the themes would swallow."""
    assert re.findall(r"url\(|@import|://|#[0-9a-f]{3}|rgb\(|white;|black", _CSS) == []


# --- what it leaves alone --------------------------------------------------------------------------------------------


def test_a_model_holds_nothing_more() -> None:
    """The methods are on the class: an instance has the slots of its fields and no other, read or made."""
    for job in (_JOB, structure({"id": "i", "data": {}, "nonce": "1"}, JobDetails)):
        assert vars(JobDetails)["__slots__"] == ("id", "data", "nonce")
        assert [vars(base)["__slots__"] for base in JobDetails.__mro__[1:-1]] == [("__weakref__",), ()]
        assert set(attrs.asdict(job, recurse=False)) == {"id", "data", "nonce"}
    assert ActionCategory.TEST in attrs.asdict(samples.action_type_id()).values()
