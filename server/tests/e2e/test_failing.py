"""A version that does not work is told with its reason, and the old one keeps serving."""

from pathlib import Path

from e2e.conftest import APPS, Service, until


def fails(service: Service, *expected: str, directory: Path = APPS / "echo") -> dict[str, object]:
    outcome = service.up(directory, ok=False)
    assert outcome["status"] == "FAILED"
    for part in expected:
        assert part in outcome["reason"], outcome
    assert service.get("/").text == "1"
    assert all(step["completed_at"] for step in service.deployments()[0]["steps"])
    return outcome


def test_a_version_that_never_becomes_healthy(echo: Service) -> None:
    echo.configure(healthcheckPath="/health", healthcheckTimeout=3)
    echo.set(HEALTHY_AFTER="1000", VERSION="2")
    fails(echo, "not healthy within 3 s", "503", "db not ready")


def test_a_version_that_listens_on_no_port(echo: Service) -> None:
    echo.configure(healthcheckTimeout=3, startCommand="sleep 1000")
    fails(echo, "listens on no port")


def test_a_version_that_exits(echo: Service) -> None:
    echo.set(EXIT_AFTER="0.1")
    fails(echo, "exited with code 3")
    assert "giving up: no database" in echo.logs()


def test_a_version_whose_pre_deploy_command_fails(echo: Service) -> None:
    echo.configure(preDeployCommand="python3 -c 'import sys; print(\"no such table\"); sys.exit(4)'")
    fails(echo, "pre-deploy command failed with exit code 4")
    assert "no such table" in echo.logs()


def test_a_version_that_does_not_build(echo: Service, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM debian:bookworm-slim\nRUN echo compiling && exit 7\n")
    fails(echo, "exit code 7", directory=tmp_path)
    assert "compiling" in echo.logs("--build")


def test_a_directory_nobody_recognises(echo: Service, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    fails(echo, directory=tmp_path)


def test_an_app_that_crashes_after_a_while_is_told_and_its_page_names_it(echo: Service) -> None:
    echo.configure(restartPolicyType="NEVER")
    echo.up(APPS / "echo")
    echo.get("/exit?code=9")
    until(lambda: echo.deployments()[0]["status"] == "CRASHED")
    assert "exited with code 9" in echo.deployments()[0]["reason"]
    until(lambda: "crashed" in echo.get("/").text.lower())
    assert echo.get("/").status_code == 503


def test_an_unhealthy_app_is_restarted(echo: Service) -> None:
    echo.configure(healthcheckPath="/health")
    echo.up(APPS / "echo")
    assert echo.get("/sicken").status_code == 200
    until(lambda: echo.get("/health").status_code == 200, 60, "restarted and healthy")


def test_a_host_nobody_has_is_a_404_that_says_so(echo: Service) -> None:
    answer = echo.get("/", host="nobody.localhost")
    assert answer.status_code == 404
