"""HAProxy and nginx for tales, as balancers and as applications that are told who connects."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from tests.mesh.town import Program, Town, path

HAPROXY = """
defaults
    timeout connect 20s
    timeout client 20s
    timeout server 20s
"""

NGINX = """
user root root;
daemon off;
master_process off;
pid {folder}/nginx-{host}.pid;
error_log stderr notice;
load_module {modules}/ngx_stream_module.so;
events {{ }}
"""


def haproxy(town: Town, host: str, text: str, port: int) -> None:
    """Start an HAProxy and wait until it listens.

    :param text: its configuration, behind the timeouts.
    """
    file = town.write(f"haproxy-{host}.cfg", HAPROXY + text)
    _listens(town, host, town.start(host, "haproxy", "-db", "-f", str(file)), port)


def haproxy_tells(address: str, port: int) -> str:
    """Return the configuration of an HTTP server that expects a PROXY header and answers with what it says."""
    told = "%[src] %[src_port] %[dst] %[dst_port]"
    return (
        f"frontend app\n mode http\n bind {address}:{port} accept-proxy\n"
        f' http-request return status 200 content-type text/plain lf-string "{told}"\n'
    )


def nginx(town: Town, host: str, text: str, port: int) -> None:
    """Start an nginx and wait until it listens.

    :param text: its configuration, behind the process's own.
    """
    start = NGINX.format(folder=town.folder, host=host, modules=_stream_modules())
    file = town.write(f"nginx-{host}.conf", start + text)
    _listens(town, host, town.start(host, "nginx", "-p", str(town.folder), "-c", str(file)), port)


def ask(town: Town, host: str, address: str, port: int) -> list[str]:
    """Return what an application is told: the client's address and port, the destination's; then the client's own."""
    ends = " %{local_ip} %{local_port}"
    url = f"http://{address}:{port}/"
    return town.run(host, "curl", "-sS", "--noproxy", "*", "-m", "20", "-w", ends, url).split()


def _stream_modules() -> Path:
    """Return the folder of nginx's modules."""
    said = subprocess.run(["nginx", "-V"], capture_output=True, text=True, check=True, env={"PATH": path()}).stderr
    match = re.search(r"--modules-path=(\S+)", said)
    assert match is not None, said
    return Path(match[1])


def _listens(town: Town, host: str, program: Program, port: int) -> None:
    def there() -> bool:
        return f":{port} " in town.hosts(host).run("ss", "-Hltn").stdout

    program.until(there, f"listening on port {port}")
