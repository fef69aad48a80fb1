//! Which well-known servers that speak no HTTP/1 can be asked whether they are well? Redis has a file of its own.
//!
//! The gRPC server is the one of the Python packages that `cargo xtask test --only packages`
//! installs beside the compiled program.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::process::Process;
use crate::{Certified, wait_for};

/// What the server runs: it serves until it is killed, and reads the state of its services from files in the working
/// directory, which are called as the services are and hold a status.
const GRPC_SERVER: &str = r#"
import os, sys, time
from concurrent import futures
import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

class Health(health.HealthServicer):
    def Check(self, request, context):
        try:
            with open("of-" + request.service) as file:
                state = file.read().strip()
        except FileNotFoundError:
            return super().Check(request, context)
        return health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.ServingStatus.Value(state))

server = grpc.server(futures.ThreadPoolExecutor(max_workers=4))
if "plain" not in sys.argv:
    health_pb2_grpc.add_HealthServicer_to_server(Health(), server)
if os.path.exists("key.pem"):
    with open("key.pem", "rb") as key, open("certificate.pem", "rb") as certificate:
        secured = grpc.ssl_server_credentials([(key.read(), certificate.read())])
    port = server.add_secure_port("127.0.0.1:0", secured)
else:
    port = server.add_insecure_port("127.0.0.1:0")
server.start()
print("port", port, flush=True)
server.wait_for_termination()
"#;

/// A real gRPC server with the health service of the `grpcio-health-checking` package.
#[derive(Debug)]
pub struct GrpcHealth {
    _process: Process,
    directory: TempDir,
    address: SocketAddr,
}

impl GrpcHealth {
    /// Starts one that has the health service, secured where there is a certificate.
    #[must_use]
    #[track_caller]
    pub fn start(certified: Option<&Certified>) -> Self {
        Self::run(certified, "with")
    }

    /// Starts one that has no service at all.
    #[must_use]
    #[track_caller]
    pub fn without_health() -> Self {
        Self::run(None, "plain")
    }

    #[track_caller]
    fn run(certified: Option<&Certified>, argument: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        if let Some(Certified { certificate, key, .. }) = certified {
            fs::copy(certificate, directory.path().join("certificate.pem")).expect("the certificate is copied");
            fs::copy(key, directory.path().join("key.pem")).expect("the key is copied");
        }
        let mut command = Command::new("python3");
        command
            .args(["-c", GRPC_SERVER, argument])
            .current_dir(directory.path());
        command.env("PYTHONPATH", python_packages());
        let mut process = Process::spawn(&mut command).expect("python3 is installed");
        let port = wait_for("the gRPC server listens", || {
            if let Ok(Some(status)) = process.wait(std::time::Duration::ZERO) {
                panic!(
                    "the gRPC server ended with {status}; `cargo xtask test --only packages` installs its packages\n{}",
                    process.stderr()
                );
            }
            process
                .stdout()
                .lines()
                .find_map(|line| line.strip_prefix("port ")?.parse().ok())
        });
        Self {
            _process: process,
            directory,
            address: SocketAddr::from(([127, 0, 0, 1], port)),
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Has it say this of a service: `SERVING`, `NOT_SERVING`, `UNKNOWN` or `SERVICE_UNKNOWN`.
    #[track_caller]
    pub fn set(&self, service: &str, status: &str) {
        let staged = self.directory.path().join("staged");
        fs::write(&staged, status).expect("the status is written");
        fs::rename(staged, self.directory.path().join(format!("of-{service}"))).expect("the status is put into place");
    }
}

/// Where xtask puts Python packages.
pub(crate) fn python_packages() -> PathBuf {
    target().join("python")
}

/// Where cargo builds.
pub(crate) fn target() -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2);
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    target.unwrap_or_else(|| workspace.unwrap_or(Path::new("")).join("target"))
}
