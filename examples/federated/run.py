"""A server and three clients as processes of this machine, which hear nobody else: ``python run.py``.

It starts Flower's server and its three client nodes, hands them the app of this folder, waits, and ends them all.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
SCRIPTS = Path(sysconfig.get_path("scripts"))
SECONDS = 240


def free_ports(n):
    """Return numbers of ports of this machine that nobody uses."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(n)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def environment(home):
    """Return the environment of all: nothing is reported to Flower's makers, and its settings lie in a folder."""
    ours = {"FLWR_TELEMETRY_ENABLED": "0", "FLWR_HOME": str(home)}
    paths = {"PATH": SCRIPTS, "PYTHONPATH": HERE}
    ours |= {name: f"{path}{os.pathsep}{os.environ.get(name, '')}" for name, path in paths.items()}
    return {**os.environ, **ours}


def end_group(number):
    """End all processes of a group that are left."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(number, signal.SIGKILL)


def main(n_rounds=8):
    """Run the federation; return the score after each round."""
    server, *nodes = free_ports(4)
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        home, results = Path(folder), Path(folder) / "results.json"
        (home / "config.toml").write_text(
            f'[superlink]\ndefault = "here"\n[superlink.here]\naddress = "127.0.0.1:{server}"\ninsecure = true\n'
        )

        def start(name, *options):
            with (home / f"{name}.log").open("w") as log:
                command = [SCRIPTS / name.partition("-of-")[0], "--insecure", *options]
                process = subprocess.Popen(
                    command, env=environment(home), stdout=log, stderr=subprocess.STDOUT, start_new_session=True
                )
            stack.callback(end_group, process.pid)  # also what it has started, where it did not end that itself
            stack.callback(process.wait)
            stack.callback(process.terminate)

        start(
            "flower-superlink",
            "--host",
            "127.0.0.1",
            "--port",
            str(server),
            "--disable-runtime-dependency-installation",
        )
        for number, port in enumerate(nodes):
            link = ["--superlink", f"127.0.0.1:{server}", "--host", "127.0.0.1", "--port", str(port)]
            start(f"flower-supernode-of-{number}", *link, "--node-config", f"partition-id={number}")
        settings = ["--run-config", f"n-rounds={n_rounds}", "--run-config", f'results="{results}"']
        for _ in range(30):  # until the server listens
            run = subprocess.run(
                [SCRIPTS / "flwr", "run", HERE, *settings],
                env=environment(home),
                capture_output=True,
                text=True,
                timeout=SECONDS,
            )
            if run.returncode == 0:
                break
            time.sleep(1)
        else:
            raise RuntimeError(f"The server did not take the app.\n{run.stdout}{run.stderr}")
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            scores = json.loads(results.read_text() or "[]") if results.exists() else []
            if len(scores) == n_rounds + 1:
                return scores
            time.sleep(0.5)
        logs = "\n".join(f"{log.name}:\n{log.read_text()[-3000:]}" for log in sorted(home.glob("*.log")))
        raise TimeoutError(f"The federation did not end.\n{run.stdout}{run.stderr}\n{logs}")


if __name__ == "__main__":
    for number, score in enumerate(main(*map(int, sys.argv[1:]))):
        print(f"round {number}: {score:.3f} of the test rows are right")
