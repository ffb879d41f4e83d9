"""BuildKit on a real engine: the contract of `Builder`, and what only a real one can show."""

import asyncio
import io
import json
import pickle
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from builds.conftest import CA_BUNDLE
from contracts.builder import START, BuilderContract, Lines, MakeOrder
from trackside.adapters.buildkit.builder import BuildKitBuilder
from trackside.adapters.buildkit.options import BuildKitOptions, CompanyNetwork
from trackside.adapters.docker.connection import Engine
from trackside.rooms.builds.errors import BuildFailed
from trackside.rooms.builds.model import BuildSettings, Limit
from trackside.rooms.builds.plan import plan
from trackside_planner import DirectoryTree

pytestmark = pytest.mark.timeout(600)
EXAMPLES = Path(__file__).parents[3] / "examples"


class TestBuildKitBuilder(BuilderContract):
    @pytest.fixture
    def builder(self, docker_builder: BuildKitBuilder) -> BuildKitBuilder:
        return docker_builder


async def layers_and_config(engine_url: str, image_id: str) -> tuple[dict[str, bytes], str]:
    """Every file of every layer (path → content), and the image's configuration as text."""
    engine = Engine(engine_url)
    try:
        async with engine.images.export_image(image_id) as stream:
            content = await stream.read()
    finally:
        await engine.close()
    files: dict[str, bytes] = {}
    with tarfile.open(fileobj=io.BytesIO(content)) as image:
        manifest = json.loads(image.extractfile("manifest.json").read())[0]  # type: ignore[union-attr]
        for number, name in enumerate(manifest["Layers"]):
            with tarfile.open(fileobj=image.extractfile(name)) as layer:
                for entry in layer:
                    # Directories are left out: the engine touches /etc when it mounts the resolver's file there.
                    if not entry.isdir():
                        body = layer.extractfile(entry).read() if entry.isreg() else b""  # type: ignore[union-attr]
                        files[f"{number}:{entry.name}"] = body
        return files, image.extractfile(manifest["Config"]).read().decode()  # type: ignore[union-attr]


def processes_of(cgroup: str) -> list[str]:
    """Processes in the builds' control group and below."""
    roots = [Path("/sys/fs/cgroup/memory") / cgroup, Path("/sys/fs/cgroup") / cgroup]
    files = [file for root in roots if root.is_dir() for file in root.rglob("cgroup.procs")]
    return [line for file in files for line in file.read_text().split()]


async def until(condition: Callable[[], bool], seconds: float) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.05)


async def test_cancelling_leaves_no_process_and_no_file_behind(
    docker_builder: BuildKitBuilder, order: MakeOrder, options: BuildKitOptions
) -> None:
    """A step that ignores SIGTERM and has put a child into the background."""
    mark = uuid4()
    wanted, log = order(f"{START}RUN trap '' TERM; echo {mark}; sleep 600 & sleep 601\n"), Lines()
    building = asyncio.ensure_future(docker_builder.build(wanted, log))
    await until(lambda: str(mark) in log.text and len(processes_of(options.cgroup.strip("/"))) >= 2, 60)
    building.cancel()
    with pytest.raises(asyncio.CancelledError):
        await building
    await until(lambda: not processes_of(options.cgroup.strip("/")), 10)
    assert list((options.directory / "running").iterdir()) == []


async def test_a_build_that_takes_too_long_is_stopped_and_says_so(options: BuildKitOptions, order: MakeOrder) -> None:
    builder = BuildKitBuilder(replace(options, seconds=3))
    with pytest.raises(BuildFailed, match="longer than the 3 s") as caught:
        await builder.build(order(f"{START}RUN sleep 300\n"), Lines())
    await builder.close()
    assert caught.value.limit is Limit.TIME
    await until(lambda: not processes_of(options.cgroup.strip("/")), 10)


@pytest.mark.parametrize(
    "command",
    [
        "head -c 3000000000 /dev/zero | tail -n 1",
        "sh -c 'head -c 3000000000 /dev/zero | tail -n 1 || echo went on && exit 1'",
    ],
)
async def test_a_build_killed_for_memory_says_so(
    docker_builder: BuildKitBuilder, order: MakeOrder, command: str
) -> None:
    with pytest.raises(BuildFailed, match="memory limit of 1 GiB") as caught:
        await docker_builder.build(order(f"{START}RUN {command} # {uuid4()}\n"), Lines())
    assert caught.value.limit is Limit.MEMORY


async def test_a_failure_without_pressure_blames_no_limit(docker_builder: BuildKitBuilder, order: MakeOrder) -> None:
    with pytest.raises(BuildFailed) as caught:
        await docker_builder.build(order(f"{START}RUN sh -c 'kill -9 $$' # {uuid4()}\n"), Lines())
    assert caught.value.limit is None


async def test_nothing_of_a_company_network_stays_in_an_image(options: BuildKitOptions, order: MakeOrder) -> None:
    mirror, key = "https://mirror-of-the-company.test/simple", uuid4().hex
    network = CompanyNetwork(ca_bundle=CA_BUNDLE, pip_index_url=mirror, npm_registry=mirror, go_proxy=mirror)
    builder = BuildKitBuilder(replace(options, network=network))
    dockerfile = (
        f'{START}RUN test -f "$SSL_CERT_FILE" && test "$PIP_INDEX_URL" = {mirror} && echo {key} > /made\n'
        'RUN ["/bin/sh", "-c", "test -n \\"$npm_config_registry\\" && echo shell > /made-by-exec"]\n'
        'RUN ["/usr/bin/env"]\n'
        "USER 1000:1000\nRUN test -r $PIP_CERT\n"
    )
    image_id = await builder.build(order(dockerfile), Lines())
    await builder.close()
    files, config = await layers_and_config(options.build_engine_url, image_id)
    own = {name: body for name, body in files.items() if not name.startswith("0:")}
    assert sorted(own) == ["1:made", "2:made-by-exec"]
    assert own["1:made"].decode().strip() == key
    assert "mirror-of-the-company" not in config.replace(f'test \\"$PIP_INDEX_URL\\" = {mirror}', "")
    assert not any(b"mirror-of-the-company" in body for body in files.values())


async def test_a_mirror_of_packages_is_used_and_leaves_no_trace(options: BuildKitOptions, order: MakeOrder) -> None:
    """The mirror is Debian's own address written in capitals, by which it can be told from the image's own sources."""
    network = CompanyNetwork(ca_bundle=CA_BUNDLE, apt_mirror="http://DEB.Debian.ORG/debian")
    builder = BuildKitBuilder(replace(options, network=network))
    log = Lines()
    dockerfile = f"{START}RUN apt-get update && echo {uuid4()}\nRUN apt-get install -y --no-install-recommends hello\n"
    image_id = await builder.build(order(dockerfile), log)
    await builder.close()
    files, config = await layers_and_config(options.build_engine_url, image_id)
    assert "DEB.Debian.ORG" in log.text
    assert not [name for name, body in files.items() if b"DEB.Debian.ORG" in body or "DEB.Debian.ORG" in name]
    assert "DEB.Debian.ORG" not in config
    assert any(name.endswith("usr/bin/hello") for name in files)


async def test_variables_reach_a_planned_build_byte_for_byte_and_leave_no_trace(
    docker_builder: BuildKitBuilder, order: MakeOrder, options: BuildKitOptions
) -> None:
    secret = f"top secret\nsecond 'line' \"$HOME\" `id` \\ {uuid4()}\n"
    tree = {
        "Procfile": "web: sleep 1",
        "check.sh": 'test "$(printenv TOKEN | sha256sum)" = "$(sha256sum < expected)"\n',
    }
    wanted = order("", tree | {"expected": "", "index.txt": "x"}, is_planned=True, variables={"TOKEN": secret})
    # printenv ends its output with one more newline.
    (wanted.tree / "expected").write_text(secret + "\n")
    settings = BuildSettings(build_command="sh check.sh && rm expected check.sh")
    planned = plan(settings, DirectoryTree(wanted.tree))
    image_id = await docker_builder.build(replace(wanted, dockerfile=planned.dockerfile), Lines())
    _, config = await layers_and_config(options.build_engine_url, image_id)
    assert "top secret" not in config
    assert str(uuid4()) not in config


async def test_a_changed_variable_runs_the_build_command_again(
    docker_builder: BuildKitBuilder, order: MakeOrder
) -> None:
    wanted = order("", {"Procfile": "web: sleep 1"}, is_planned=True)
    planned = plan(BuildSettings(build_command="echo color is $COLOR"), DirectoryTree(wanted.tree))
    for color in ("reddish", "blueish", "reddish"):
        log = Lines()
        await docker_builder.build(
            replace(
                wanted, dockerfile=planned.dockerfile, variables={"COLOR": f"{color[:4]}-{wanted.build_id.hex[:3]}"}
            ),
            log,
        )
        if color == "blueish":
            assert "color is" in log.text
    assert "color is blue" not in log.text


async def test_a_dockerfile_gets_the_arguments_it_declares_and_secrets_it_mounts(
    docker_builder: BuildKitBuilder, order: MakeOrder, options: BuildKitOptions
) -> None:
    value = f'it\'s "quoted" $HOME {uuid4()}'
    dockerfile = (
        f"{START}ARG COLOR\nARG PATHS=default\nARG HOME\n"
        'RUN --mount=type=secret,id=TOKEN,target=/dev/token test "$COLOR" = "$(cat /dev/token)" && echo -n "$PATHS" > /paths\n'
    )
    log = Lines()
    variables = {"COLOR": value, "TOKEN": value, "HOME": "/nowhere", "OTHER": "x"}
    image_id = await docker_builder.build(order(dockerfile, variables=variables), log)
    files, _ = await layers_and_config(options.build_engine_url, image_id)
    assert files["1:paths"] == b"default"
    assert "HOME is not offered" in log.text


async def test_tenants_do_not_share_cache_mounts(docker_builder: BuildKitBuilder, order: MakeOrder) -> None:
    name = f"shared-{uuid4()}"
    tricks = [
        f"--mount=type=cache,id={name},target=/cache",
        f"--mount=TYPE=Cache,ID={name},target=/cache",
        f'--mount="type=cache,id={name},target=/cache"',
        f"--mount=type=ca\\\nche,id={name},target=/cache",
    ]
    for number, trick in enumerate(tricks):
        mine = order(f"{START}RUN {trick} touch /cache/mine{number}\n", workspace_id=UUID(int=7))
        await docker_builder.build(mine, Lines())
        again = order(f"{START}RUN {trick} test -e /cache/mine{number} # again\n", workspace_id=UUID(int=7))
        await docker_builder.build(again, Lines())
        other = order(f'{START}RUN {trick} test -z "$(ls /cache)" # other\n', workspace_id=UUID(int=8))
        await docker_builder.build(other, Lines())


async def test_ignored_files_do_not_reach_the_build(docker_builder: BuildKitBuilder, order: MakeOrder) -> None:
    files = {".dockerignore": "secret.txt\n", "secret.txt": "x", "kept.txt": "y"}
    dockerfile = f"{START}COPY . /app/\nRUN test -e /app/kept.txt && test ! -e /app/secret.txt\n"
    await docker_builder.build(order(dockerfile, files), Lines())


async def test_a_link_out_of_the_tree_brings_nothing_of_the_machine(
    docker_builder: BuildKitBuilder, order: MakeOrder
) -> None:
    wanted = order(
        f"{START}COPY . /app/\nRUN test ! -s /app/passwd || grep -q root:x /app/passwd\nRUN test -L /app/passwd\n"
    )
    (wanted.tree / "passwd").symlink_to("/etc/passwd")
    await docker_builder.build(wanted, Lines())


async def test_what_is_no_dockerfile_is_explained(docker_builder: BuildKitBuilder, order: MakeOrder) -> None:
    with pytest.raises(BuildFailed, match="unknown instruction: NONSENSE"):
        await docker_builder.build(order(f"{START}NONSENSE here\n"), Lines())


async def test_a_target_that_is_missing_is_explained(docker_builder: BuildKitBuilder, order: MakeOrder) -> None:
    with pytest.raises(BuildFailed, match="nowhere"):
        await docker_builder.build(order(f"{START}RUN true\n", target="nowhere"), Lines())


async def test_only_an_image_with_the_labels_is_published(docker_builder: BuildKitBuilder, order: MakeOrder) -> None:
    ours = {"dev.trackside.installation": "0123abcd"}
    image_id = await docker_builder.build(order(f"{START}RUN echo {uuid4()} > /x\n", labels=ours), Lines())
    with pytest.raises(BuildFailed):
        await docker_builder.publish(image_id, {"dev.trackside.installation": "other"}, Lines())
    assert (await docker_builder.publish(image_id, ours, Lines())).id == image_id


async def test_a_build_dies_with_its_builder(
    docker_builder: BuildKitBuilder, options: BuildKitOptions, order: MakeOrder, tmp_path: Path
) -> None:
    """The builder process is killed: neither the build program nor the step goes on, and the next build clears its files."""
    wanted = order(f"{START}RUN sleep 500\n")
    script = tmp_path / "builder.py"
    script.write_text(
        "import asyncio, sys, pickle\n"
        "from trackside.adapters.buildkit.builder import BuildKitBuilder\n"
        "async def log(line): pass\n"
        "options, order = pickle.load(open(sys.argv[1], 'rb'))\n"
        "async def main(): await BuildKitBuilder(options).build(order, log)\n"
        "asyncio.run(main())\n"
    )
    (tmp_path / "order").write_bytes(pickle.dumps((options, wanted)))
    process = subprocess.Popen([sys.executable, str(script), str(tmp_path / "order")])
    await until(lambda: bool(processes_of(options.cgroup.strip("/"))), 60)
    process.kill()
    process.wait()
    await until(lambda: not processes_of(options.cgroup.strip("/")), 10)
    await docker_builder.build(order(f"{START}CMD true\n"), Lines())
    assert list((options.directory / "running").iterdir()) == []


@pytest.mark.parametrize("example", sorted(path.name for path in EXAMPLES.iterdir() if path.is_dir()))
async def test_every_example_builds(docker_builder: BuildKitBuilder, order: MakeOrder, example: str) -> None:
    tree = EXAMPLES / example
    planned = plan(BuildSettings(), DirectoryTree(tree))
    wanted = order(planned.dockerfile, tree=tree, is_planned=planned.is_planned)
    image = await docker_builder.publish(await docker_builder.build(wanted, Lines()), {}, Lines())
    assert image.config.user == "1000:1000"
    start = time.monotonic()
    assert await docker_builder.build(wanted, Lines()) == image.id
    assert time.monotonic() - start < 2, "a build without a change takes too long"
