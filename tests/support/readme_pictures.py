"""
Create the README's pictures of a notebook; the command is ``nox -s picture``.

Jupyter executes the notebook against the local CodePipeline, and Chromium takes a picture of its page in each theme.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from pathlib import Path

from support import notebooks

PICTURES = Path(__file__).parents[2] / "docs" / "pictures"
THEMES = ("light", "dark")
WIDTH, SCALE = 900, 1.5

# Ids are numbered, so that two runs make the same notebook.
_SERVICE = """
import itertools, uuid
numbers = itertools.count(1)
uuid.uuid4 = lambda: uuid.UUID(int=(0xB2A1C0DE << 96) + (0x4000_8000 << 48) + next(numbers))

from cp_thirdparty import ActionTypeId, EncryptionKey, EncryptionKeyType, SecretStr
from cp_thirdparty.testing import LocalCodePipeline, samples

service = LocalCodePipeline()
service.__enter__()
client = service.client()
mine = ActionTypeId(category="Test", owner="ThirdParty", provider="ExampleScan", version="1")
tokens = {"client-1": SecretStr("the token that belongs to client-1")}
service.register_client("client-1", tokens["client-1"])
service.start_action(
    mine,
    client_id="client-1",
    configuration={"ProjectName": "demo", "ApiKey": "not for your eyes"},
    input_artifacts=[samples.artifact("MyApp", object_key="demo/MyApp/a1b2c3", revision="3f2c1a9")],
    output_artifacts=[samples.artifact("Report", object_key="demo/Report/d4e5f6")],
    encryption_key=EncryptionKey(id="alias/demo", type=EncryptionKeyType.KMS),
    pipeline_context=samples.pipeline_context(pipeline_name="demo", stage_name="Test", action_name="Scan"),
)
"""
_READ = """\
(job,) = client.poll_for_third_party_jobs(mine)
details = client.get_third_party_job_details(job.job_id, client_token=tokens[job.client_id])
details"""
_FORMAT = "f\"The key is {details.data.action_configuration.configuration['ApiKey']}\""
_HEIGHT = "return Math.ceil(document.querySelector('main').getBoundingClientRect().bottom)"


def execute(directory: Path) -> Path:
    """Execute the notebook in a directory."""
    return notebooks.execute([_READ, _FORMAT], directory, hidden=_SERVICE)


def fingerprint(notebook: Path) -> str:
    """Return what an executed notebook shows: another one means that the pictures are out of date."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"][1:]
    shown = [(cell["source"], [_richest(output["data"]) for output in cell["outputs"]]) for cell in cells]
    return hashlib.sha256(json.dumps(shown, sort_keys=True).encode()).hexdigest()


def _richest(data: dict[str, str]) -> str:
    return data.get("text/html", data["text/plain"])


def make(pictures: Path) -> None:
    """Make the pictures, and note what is on them."""
    pictures.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        notebook = execute(Path(temporary))
        for theme in THEMES:
            page = notebooks.as_page(notebook, theme)
            _, height = notebooks.document(page, width=WIDTH, script=_HEIGHT)
            picture = pictures / f"notebook-{theme}.png"
            notebooks.screenshot(page, picture, width=WIDTH, height=height, scale=SCALE)
        (pictures / "notebook.sha256").write_text(f"{fingerprint(notebook)}\n", encoding="ascii")


if __name__ == "__main__":
    if notebooks.CHROMIUM is None:
        raise SystemExit(notebooks.NO_CHROMIUM)
    make(PICTURES)
