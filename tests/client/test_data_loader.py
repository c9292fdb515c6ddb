"""Sessions of our own load botocore's data as botocore does, without a look at all of it."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import botocore.loaders
import botocore.session
import pytest
from botocore.exceptions import DataNotFoundError, UnknownServiceError
from botocore.loaders import Loader

from cp_thirdparty import ThirdPartyJobClient
from cp_thirdparty._core import data_loader
from cp_thirdparty.exceptions import InvalidRequestError
from cp_thirdparty.testing import LocalCodePipeline

_ENDPOINTS = Path(Loader.BUILTIN_DATA_PATH) / "endpoints.json"


@pytest.fixture(autouse=True)
def _new_loaders(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Share no loader with other tests: a session of botocore has its own, and those of ours begin with nothing."""
    monkeypatch.setattr(botocore.session, "create_loader", botocore.loaders.create_loader)
    data_loader._loader.cache_clear()
    yield
    data_loader._loader.cache_clear()


def _session() -> botocore.session.Session:
    session = botocore.session.Session()
    data_loader.install(session)
    return session


@pytest.mark.parametrize("type_name", ["service-2", "endpoint-rule-set-1", "paginators-1"])
def test_knows_the_services_that_botocore_knows(type_name: str) -> None:
    """The names are botocore's, each is known, and no other is."""
    theirs = Loader().list_available_services(type_name)
    ours = _session().get_component("data_loader").list_available_services(type_name)
    assert (list(ours), len(ours)) == (theirs, len(theirs))
    assert all(name in ours for name in theirs)
    assert "codepipelines" not in ours


@pytest.mark.parametrize("name", ["endpoints", "partitions", "sdk-default-configuration", "_retry"])
def test_loads_what_botocore_loads(name: str) -> None:
    """A file of data has the same members in the same order."""
    assert json.dumps(_loader().load_data(name), default=dict) == json.dumps(Loader().load_data(name))


def test_parses_the_endpoints_of_a_service_when_they_are_used() -> None:
    """The services of each partition are those of botocore; no other name is one."""
    for ours, theirs in zip(_partitions(_loader()), _partitions(Loader()), strict=True):
        services = ours["services"]
        assert not isinstance(services, dict)
        assert (services == theirs["services"], len(services)) == (True, len(theirs["services"]))
        assert services.get("codepipelines") is None


def _partitions(loader: Any) -> list[dict[str, Any]]:
    partitions: list[dict[str, Any]] = loader.load_data("endpoints")["partitions"]
    return partitions


@pytest.mark.parametrize(
    "change",
    [
        lambda text: json.dumps(json.loads(text)),
        lambda text: json.dumps(json.loads(text), indent=2),
        lambda text: text.replace("\n    }", "\n     }"),
        lambda text: text.encode("utf-16"),
    ],
)
def test_parses_endpoints_of_another_layout(
    change: Callable[[str], str | bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A later version of botocore may write its file in another way; it is then parsed completely."""
    changed = change(_ENDPOINTS.read_text(encoding="utf-8"))
    (tmp_path / "endpoints.json").write_bytes(changed.encode() if isinstance(changed, str) else changed)
    monkeypatch.setenv("AWS_DATA_PATH", str(tmp_path))
    monkeypatch.setattr(data_loader, "_BUILTIN_ENDPOINTS", str(tmp_path / "endpoints"))
    assert _loader().load_data("endpoints") == Loader().load_data("endpoints")
    assert all(isinstance(partition["services"], dict) for partition in _partitions(_loader()))


@pytest.mark.parametrize(
    "entry",
    [
        '\n      "codepipeline" : %s,',
        '\n      "codepipeline": %s,',
        '\n        "codepipeline" : %s,',
        '\r\n\t"codepipeline" : %s,',
        ' "codepipeline" : %s,',
    ],
)
def test_uses_an_endpoint_that_a_person_has_added(entry: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However the entry is written, the client does not send its secrets to another host."""
    begin = '\n    "services" : {'
    added = entry % '{"endpoints": {"us-east-1": {"hostname": "pipeline.internal.example"}}}'
    text = _ENDPOINTS.read_text(encoding="utf-8").replace('\n      "codepipeline" :', '\n      "other" :')
    (tmp_path / "endpoints.json").write_text(text.replace(begin, begin + added, 1), encoding="utf-8", newline="")
    monkeypatch.setenv("AWS_DATA_PATH", str(tmp_path))
    keys: dict[str, Any] = {"aws_access_key_id": "made-up", "aws_secret_access_key": "made-up"}
    for session in (_session(), botocore.session.Session()):
        client = session.create_client("codepipeline", region_name="us-east-1", **keys)
        assert client.meta.endpoint_url == "https://pipeline.internal.example"
        client.close()


@pytest.mark.parametrize("service", ["codepipeline", "s3", "sts"])
def test_loads_the_models_that_botocore_loads(service: str) -> None:
    """The model of a service has the same members in the same order."""
    ours, theirs = (loader.load_service_model(service, "service-2") for loader in (_loader(), Loader()))
    assert json.dumps(ours) == json.dumps(theirs)


def _loader() -> Any:
    return _session().get_component("data_loader")


def test_raises_the_error_of_botocore_for_an_unknown_service() -> None:
    """A service that is not there is refused with the names of all that are."""
    with pytest.raises(UnknownServiceError) as ours:
        _session().create_client("codepipelines", region_name="us-east-1")
    with pytest.raises(UnknownServiceError) as theirs:
        botocore.session.Session().create_client("codepipelines", region_name="us-east-1")
    assert str(ours.value) == str(theirs.value)


def test_raises_the_error_of_botocore_for_missing_data() -> None:
    """A file that is in no folder is botocore's error."""
    with pytest.raises(DataNotFoundError, match="no-such-data"):
        _loader().load_data("no-such-data")


@pytest.mark.parametrize("suffix", [".json", ".json.gz"])
def test_looks_where_botocore_looks(suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of models that the AWS configuration names counts, packed or not."""
    folder = tmp_path / "mine" / "2026-01-01"
    folder.mkdir(parents=True)
    text = b'{"metadata": {}, "operations": {}}'
    (folder / f"service-2{suffix}").write_bytes(gzip.compress(text) if suffix == ".json.gz" else text)
    monkeypatch.setenv("AWS_DATA_PATH", str(tmp_path))
    assert "mine" in _loader().list_available_services("service-2")
    assert _loader().load_service_model("mine", "service-2") == {"metadata": {}, "operations": {}}


def test_looks_past_what_is_not_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with the name of a file is not read, and the search goes on, as botocore's does."""
    (tmp_path / "endpoints.json").mkdir()
    monkeypatch.setenv("AWS_DATA_PATH", str(tmp_path))
    assert _loader().load_data("endpoints") == Loader().load_data("endpoints")


def test_a_client_of_our_own_lists_no_services(monkeypatch: pytest.MonkeyPatch) -> None:
    """Making a client looks at the folder of its service only."""

    def walk(*_: object, **__: object) -> list[str]:
        raise AssertionError("all folders were listed")

    monkeypatch.setattr(Loader, "list_available_services", walk)
    with pytest.raises(AssertionError, match="all folders were listed"):
        botocore.session.Session().create_client("codepipeline", region_name="us-east-1")
    with ThirdPartyJobClient.create(region_name="us-east-1", sign_request=False) as client:
        assert client._client.meta.service_model.service_name == "codepipeline"


def test_a_session_of_yours_keeps_its_loader() -> None:
    """A session that is given stays as it is."""
    session = botocore.session.Session()
    loader = session.get_component("data_loader")
    ThirdPartyJobClient.create(region_name="us-east-1", sign_request=False, session=session).close()
    assert session.get_component("data_loader") is loader


def test_sessions_share_a_loader_of_the_same_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two sessions share what was parsed, and a session with other folders does not see it."""
    first, second, third = (botocore.session.Session() for _ in range(3))
    data_loader.install(first)
    data_loader.install(second)
    monkeypatch.setenv("AWS_DATA_PATH", str(tmp_path))
    data_loader.install(third)
    loaders = [session.get_component("data_loader") for session in (first, second, third)]
    assert loaders[0] is loaders[1]
    assert loaders[2].search_paths == [str(tmp_path), *loaders[0].search_paths]


def test_a_second_client_reads_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the first client of a process parses botocore's data, whoever makes the second one."""
    ThirdPartyJobClient.create(region_name="us-east-1", sign_request=False).close()

    def read(*_: object) -> object:
        raise AssertionError("a file was read")

    monkeypatch.setattr(data_loader._JsonFileLoader, "load_file", read)
    ThirdPartyJobClient.create(region_name="us-east-1", sign_request=False).close()
    with LocalCodePipeline() as service:
        service.client().close()
    data_loader._loader.cache_clear()
    with pytest.raises(InvalidRequestError, match="AssertionError"):
        ThirdPartyJobClient.create(region_name="us-east-1", sign_request=False)
