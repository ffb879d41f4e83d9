"""The pure parts of the builder: reading and rewriting Dockerfiles, progress, limits, names of base images, command lines."""

from pathlib import Path
from uuid import UUID

import pytest

from trackside.adapters.buildkit.command import BuildFiles, build_command, build_environment, prepare
from trackside.adapters.buildkit.debian import debian_suite, sources_list
from trackside.adapters.buildkit.instructions import (
    declared_arguments,
    external_images,
    read_instructions,
    split_flags,
    write_flag,
)
from trackside.adapters.buildkit.limits import MemoryPressure, read_memory_pressure, which_limit
from trackside.adapters.buildkit.network import apt_configuration, environment_file
from trackside.adapters.buildkit.options import BuildKitOptions, CompanyNetwork
from trackside.adapters.buildkit.progress import Progress
from trackside.adapters.buildkit.redaction import Redactor
from trackside.adapters.buildkit.rewrite import Rewriting, rewrite_dockerfile
from trackside.adapters.docker.references import may_ask, mirrored, split_reference
from trackside.rooms.builds.model import BuildOrder, Limit

COMPANY = CompanyNetwork(ca_bundle=Path("/company.pem"))
READ = ". /dev/trackside/environment"
MOUNTS = (
    "--mount=type=secret,id=trackside-environment,target=/dev/trackside/environment,mode=0444 "
    "--mount=type=secret,id=trackside-ca,target=/dev/trackside/ca.pem,mode=0444 "
    "--mount=type=secret,id=trackside-apt,target=/dev/trackside/apt.conf,mode=0444"
)


def rewrite(text: str, network: CompanyNetwork = COMPANY, *, shared: bool = False) -> str:
    return rewrite_dockerfile(text, Rewriting(network, "tenant", shared))


@pytest.mark.parametrize(
    ("text", "rewritten"),
    [
        ("RUN make\n", f"RUN {MOUNTS} {READ}; make\n"),
        ("run make", f"RUN {MOUNTS} {READ}; make\n"),
        ("RUN a && \\\n  # why\n\n  b\n", f"RUN {MOUNTS} {READ}; a &&   b\n"),
        ("RUN --network=none make\n", f"RUN {MOUNTS} --network=none {READ}; make\n"),
        ('RUN ["make", "all"]\n', f'RUN {MOUNTS} ["/bin/sh", "-c", "{READ}; exec \\"$@\\"", "sh", "make", "all"]\n'),
        ('RUN ["bash", "-c", "make"]\n', f'RUN {MOUNTS} ["bash", "-c", "{READ}; make"]\n'),
        ("RUN <<EOF\nmake\nEOF\n", f"RUN {MOUNTS} <<EOF\n{READ}\nmake\nEOF\n"),
        ("RUN <<EOF\n#!/usr/bin/python3\nx\nEOF\n", f"RUN {MOUNTS} <<EOF\n#!/usr/bin/python3\nx\nEOF\n"),
        ("RUN cat <<EOF > /x\nRUN y\nEOF\n", f"RUN {MOUNTS} {READ}; cat <<EOF > /x\nRUN y\nEOF\n"),
        ('SHELL ["/usr/bin/python3", "-c"]\nRUN print(1)\n', 'SHELL ["/usr/bin/python3", "-c"]\nRUN print(1)\n'),
        ("# syntax=docker/dockerfile:1\nFROM x\n", "FROM x\n"),
        ("#SYNTAX = evil/frontend\n# a comment\nFROM x\n", "# a comment\nFROM x\n"),
        ("# escape=`\nRUN a `\n  b\n", f"# escape=`\nRUN {MOUNTS} {READ}; a   b\n"),
        ("COPY <<EOF /x\nRUN this is text\nEOF\n", "COPY <<EOF /x\nRUN this is text\nEOF\n"),
        ("# RUN no\nLABEL a='RUN b'\n", "# RUN no\nLABEL a='RUN b'\n"),
        ("", ""),
    ],
)
def test_each_run_reads_the_network_first(text: str, rewritten: str) -> None:
    assert rewrite(text) == rewritten


@pytest.mark.parametrize(
    "text",
    [
        "FROM a\nRUN make\n",
        "FROM a AS b\n\n# c\nENV X=1 \\\n  Y=2\nCOPY --from=b . .\nCMD x\n",
        "nonsense\n\n  x",
        'RUN echo \'{"a": "--mount=type=cache"}\' "\\$x"\n',
    ],
)
def test_without_a_company_network_nothing_but_caches_changes(text: str) -> None:
    assert rewrite(text, CompanyNetwork()) == text


@pytest.mark.parametrize(
    ("flag", "rewritten"),
    [
        ("--mount=type=cache,target=/c", "--mount=type=cache,target=/c,id=tenant//c"),
        ("--mount=type=cache,id=x,target=/c", "--mount=type=cache,target=/c,id=tenant/x"),
        ("--mount=ID=x,TYPE=CACHE,dst=/c", "--mount=TYPE=CACHE,dst=/c,id=tenant/x"),
        ('--mount="type=cache,id=x,target=/c"', "--mount=type=cache,target=/c,id=tenant/x"),
        ("--mount=ty\\pe=cache,target=/c", "--mount=type=cache,target=/c,id=tenant//c"),
        ("--mount=type=ca\\\nche,target=/c", "--mount=type=cache,target=/c,id=tenant//c"),
        ("--mount=type=cache,id=tenant/../other,target=/c", "--mount=type=cache,target=/c,id=tenant/tenant/../other"),
        (
            "--mount=type=cache,id=trackside-shared-apt,target=/c",
            "--mount=type=cache,target=/c,id=tenant/trackside-shared-apt",
        ),
        ("--mount=type=secret,id=x", "--mount=type=secret,id=x"),
        ("--mount=type=bind,from=b,target=/c", "--mount=type=bind,from=b,target=/c"),
    ],
)
def test_every_cache_belongs_to_its_workspace(flag: str, rewritten: str) -> None:
    assert rewrite(f"RUN {flag} make\n", CompanyNetwork()) == f"RUN {rewritten} make\n"


def test_our_own_shared_caches_stay_shared_in_planned_builds_only() -> None:
    text = "RUN --mount=type=cache,id=trackside-shared-apt,target=/c make\n"
    assert rewrite(text, CompanyNetwork(), shared=True) == text
    assert rewrite(text, CompanyNetwork()) != text


def test_a_mirror_of_packages_goes_to_debian_stages_only() -> None:
    network = CompanyNetwork(apt_mirror="http://mirror.test/debian")
    text = rewrite("FROM debian:12-slim AS a\nRUN x\nFROM a\nRUN y\nFROM alpine\nRUN z\n", network)
    lines = [line for line in text.splitlines() if line.startswith("RUN")]
    assert ["trackside-apt-sources-bookworm" in line for line in lines] == [True, True, False]
    assert "mirror.test" not in text


@pytest.mark.parametrize("word", ["--a=b c", '--a="x"', "--a=b\\c", "--a='"])
def test_a_flag_is_read_as_it_is_written(word: str) -> None:
    assert split_flags(f"{write_flag(word)} rest")[0] == [word]


def test_instructions_joined_are_the_file_again() -> None:
    text = "# escape=\\\nFROM a\n\nRUN a \\\n b <<X <<Y\n1\nX\n2\nY\nCMD x"
    assert "".join(i.text + i.heredocs for i in read_instructions(text)) == text
    assert [i.keyword for i in read_instructions(text) if i.keyword] == ["FROM", "RUN", "CMD"]


@pytest.mark.parametrize(
    ("text", "images"),
    [
        ("FROM a\n", ["a"]),
        ("FROM --platform=linux/amd64 a AS b\nFROM b\nFROM scratch\nFROM B\n", ["a"]),
        ("ARG V=12\nFROM debian:${V}-slim\n", ["debian:13-slim"]),
        ("ARG W\nFROM debian:${W:-x}${W:+y}\n", ["debian:x"]),
        (
            "FROM a\nCOPY --from=c:1 /x /\nCOPY --from=0 /x /\nRUN --mount=type=bind,from=d:1,target=/d x\n",
            ["a", "c:1", "d:1"],
        ),
        ("FROM a\nARG V=1\nRUN echo FROM b\n# FROM c\n", ["a"]),
    ],
)
def test_images_a_dockerfile_needs(text: str, images: list[str]) -> None:
    assert external_images(text, {"V": "13"}) == images


def test_stages_after_the_target_need_nothing() -> None:
    assert external_images("FROM a AS x\nFROM b AS y\nFROM c\n", {}, "y") == ["a", "b"]


def test_declared_arguments_are_found() -> None:
    assert declared_arguments("ARG A\nFROM x\nARG B=1 C='a b'\narg D\n# ARG E\n") == {"A", "B", "C", "D"}


@pytest.mark.parametrize(
    ("image", "suite"),
    [
        ("debian", "trixie"),
        ("debian:12", "bookworm"),
        ("debian:12.5-slim", "bookworm"),
        ("debian:bookworm-20260101-slim", "bookworm"),
        ("docker.io/library/debian:stable-slim", "trixie"),
        ("library/debian:sid", "sid"),
        ("debian:7", None),
        ("debian:bookworm-backports-x", None),
        ("debian@sha256:" + "0" * 64, None),
        ("ubuntu:24.04", None),
        ("other/debian:12", None),
        ("debian:../../x", None),
    ],
)
def test_debian_images_are_known_by_name(image: str, suite: str | None) -> None:
    assert debian_suite(image) == suite


def test_a_mirrors_security_updates_are_beside_it() -> None:
    assert "deb http://m/debian-security bookworm-security main" in sources_list("bookworm", "http://m/debian/")
    assert "security" not in sources_list("bookworm", "http://m/other")
    assert sources_list("sid", "http://m/debian") == "deb http://m/debian sid main\n"


@pytest.mark.parametrize(
    ("image", "source"),
    [
        ("debian:12", "m:5000/hub/library/debian:12"),
        ("owner/app:1", "m:5000/hub/owner/app:1"),
        ("registry.test/app:1", "registry.test/app:1"),
        ("localhost/app", "localhost/app"),
        ("host:5000/app", "host:5000/app"),
    ],
)
def test_a_mirror_stands_for_the_engines_default_registry_only(image: str, source: str) -> None:
    assert mirrored(image, "m:5000/hub/") == source
    assert mirrored(image, "") == image


@pytest.mark.parametrize(
    ("image", "only", "may"),
    [
        ("registry.test/app:1", [], True),
        ("registry.test/app:1", ["registry.test"], True),
        ("Registry.Test/app:1", ["registry.test"], True),
        ("registry.test:5000/app:1", ["registry.test"], False),
        ("registry.test.evil/app:1", ["registry.test"], False),
        ("evil/registry.test/app:1", ["registry.test"], False),
        ("EVIL/app", ["default"], False),
        ("localhost/app", ["default"], False),
        ("debian:12", ["default"], True),
        ("owner/app:1", ["default"], True),
        ("debian:12", ["registry.test"], False),
    ],
)
def test_only_the_named_registries_may_be_asked_and_any_where_none_is_named(
    image: str, only: list[str], may: bool
) -> None:
    assert may_ask(image, only) is may


@pytest.mark.parametrize(
    ("reference", "parts"),
    [
        ("a", ("a", "latest")),
        ("a:1", ("a", "1")),
        ("h:5000/a", ("h:5000/a", "latest")),
        ("h:5000/a:1", ("h:5000/a", "1")),
    ],
)
def test_a_reference_has_a_repository_and_a_tag(reference: str, parts: tuple[str, str]) -> None:
    assert split_reference(reference) == parts


PROGRESS = """#1 [internal] load build definition from Dockerfile
#1 sha256:0123456789012345678901234567890123456789012345678901234567890123
#1 transferring dockerfile: 32B done
#1 DONE 0.1s
#4 [1/3] FROM debian
#4 CACHED
#5 [2/3] RUN --mount=type=secret,id=x . /dev/trackside/environment; make
#5 0.101 cc -c main.c
#5 0.201 Error: it is broken
#5 0.301 hint: read the manual
#5 ERROR: executor failed running [/bin/sh -c . /dev/trackside/environment; make]: exit code: 2
------
 > [2/3] RUN make:
------
executor failed running [/bin/sh -c make]: exit code: 2
""".splitlines()


def test_progress_is_logged_without_its_machinery() -> None:
    progress = Progress()
    shown = [line for raw in PROGRESS if (line := progress.read(raw)) is not None]
    assert shown == [
        "[1/3] FROM debian",
        "CACHED",
        "[2/3] RUN make",
        "cc -c main.c",
        "Error: it is broken",
        "hint: read the manual",
        "ERROR: executor failed running [/bin/sh -c make]: exit code: 2",
    ]
    assert progress.sentence() == "The build step `[2/3] RUN make` ended with exit code 2: Error: it is broken"


def test_a_step_that_is_a_whole_program_does_not_fill_the_sentence() -> None:
    progress = Progress()
    for line in (
        f"#5 [2/2] RUN {'echo long; ' * 200}",
        "#5 ERROR: process did not complete successfully: exit code: 3",
    ):
        progress.read(line)
    sentence = progress.sentence()
    assert sentence.endswith(" …` ended with exit code 3.")
    assert len(sentence) < 200


def test_a_failure_outside_of_a_step_keeps_its_words() -> None:
    progress = Progress()
    progress.read(
        "failed to solve with frontend dockerfile.v0: failed to create LLB definition: unknown instruction: X"
    )
    assert progress.sentence().endswith("unknown instruction: X.")


OOM, CALM = MemoryPressure(9, 0), MemoryPressure(1, 0)


@pytest.mark.parametrize(
    ("before", "after", "code", "said", "limit"),
    [
        (CALM, OOM, 137, [], Limit.MEMORY),
        (CALM, OOM, 1, ["cc: fatal error: Killed signal terminated program cc1plus"], Limit.MEMORY),
        (CALM, MemoryPressure(1, 1), 1, [], Limit.MEMORY),
        (CALM, OOM, 1, ["a test failed"], None),
        (CALM, CALM, 137, ["Killed"], None),
        (CALM, OOM, 1, ["write: No space left on device"], Limit.DISK),
        (CALM, CALM, None, [], None),
    ],
)
def test_a_limit_is_blamed_only_with_proof(
    before: MemoryPressure, after: MemoryPressure, code: int | None, said: list[str], limit: Limit | None
) -> None:
    assert which_limit(before, after, code, said) is limit


def test_memory_pressure_is_read_from_both_versions_of_control_groups(tmp_path: Path) -> None:
    (tmp_path / "memory/one").mkdir(parents=True)
    (tmp_path / "memory/one/memory.failcnt").write_text("7\n")
    (tmp_path / "memory/one/memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 2\n")
    (tmp_path / "two").mkdir()
    (tmp_path / "two/memory.events").write_text("low 0\nhigh 0\nmax 5\noom 1\noom_kill 1\n")
    assert read_memory_pressure("/one", tmp_path) == MemoryPressure(7, 2)
    assert read_memory_pressure("/two", tmp_path) == MemoryPressure(5, 1)
    assert read_memory_pressure("/three", tmp_path) == read_memory_pressure("", tmp_path) == MemoryPressure()


def test_secrets_are_redacted_line_by_line_and_short_ones_are_not() -> None:
    redactor = Redactor(["first-secret\nsecond-secret", "8080", "secret", "first-secret-and-more"])
    assert redactor.redact("x first-secret-and-more y") == "x [redacted] y"
    assert redactor.redact("second-secret at 8080") == "[redacted] at 8080"


def an_order(dockerfile: str, **fields: object) -> BuildOrder:
    values: dict[str, object] = {"is_planned": False} | fields
    return BuildOrder(UUID(int=1), UUID(int=2), UUID(int=3), Path("/tree"), dockerfile, **values)  # type: ignore[arg-type]


OPTIONS = BuildKitOptions(Path("/state"), "unix:///b", "unix:///a", network=COMPANY)


def test_no_value_of_a_variable_is_an_argument_of_the_program() -> None:
    order = an_order(
        "FROM a\nARG TOKEN\nARG DOCKER_HOST\n",
        variables={"TOKEN": "top-secret", "DOCKER_HOST": "tcp://evil", "OTHER": "top-secret"},
        target="x",
        labels={"a": "b"},
    )
    prepared = prepare(order, OPTIONS, b"key", None)
    files = BuildFiles(Path("/private"))
    command = build_command(order, prepared, OPTIONS, files)
    assert "top-secret" not in " ".join(command)
    assert command[-2:] == ["--", "/tree"]
    environment = build_environment(prepared, files)
    assert environment["TOKEN"] == "top-secret"
    assert "DOCKER_HOST" not in environment
    assert prepared.not_offered == ["DOCKER_HOST"]


@pytest.mark.parametrize("own", [".env\n", "", None])
def test_what_a_dockerfile_leaves_out_is_laid_beside_it_as_it_is(own: str | None) -> None:
    assert prepare(an_order("FROM a\n", ignore=own), OPTIONS, b"key", "of the tree\n").ignore == own


def test_variables_change_the_digest_and_keys_differ() -> None:
    text = "FROM a\nARG TRACKSIDE_VARIABLES_DIGEST\n"
    digests = {
        prepare(an_order(text, is_planned=True, variables=variables), OPTIONS, key, None).digest
        for variables in ({}, {"A": "1"}, {"A": "2"})
        for key in (b"one", b"two")
    }
    assert len(digests) == 6


def test_a_mirror_the_dockerfile_names_itself_wins() -> None:
    text = environment_file(CompanyNetwork(pip_index_url="http://m/it's"))
    assert """if [ -z "${PIP_INDEX_URL+set}" ]; then export PIP_INDEX_URL='http://m/it'"'"'s'; fi""" in text
    assert "SSL_CERT_FILE" not in text


def test_apt_notes_no_mirror() -> None:
    assert "pkgcache" in apt_configuration(CompanyNetwork(apt_mirror="http://m/debian"), is_mirrored=True)
    assert "CaInfo" in apt_configuration(COMPANY, is_mirrored=False)
    assert "SourceList" not in apt_configuration(COMPANY, is_mirrored=False)
