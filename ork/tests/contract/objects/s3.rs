//! The cases over a bucket, on moto: a server that speaks S3, and is installed with the Python of the tests.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use ork_ports::objects::ObjectErrorKind;
use ork_ports::objects::Objects as _;
use ork_runtime::objects::bucket::Bucket;

use super::cases::{all, on};
use super::installed::python;

/// A Python program that runs the server. It ends when its input is closed, so it never outlives the test.
const SERVER: &str = "
import os, sys, threading
from moto.server import main
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
main(sys.argv[1:])
";

/// The server. It ends when this is dropped, or when this process ends.
struct Server {
    process: Child,
    address: SocketAddr,
}

impl Server {
    /// Starts a server with one bucket. Returns `None` if Python is not installed and not required.
    fn start() -> Option<Self> {
        let python = python()?;
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut command = Command::new(python);
        command.args(["-c", SERVER, "-H", "127.0.0.1", "-p", &address.port().to_string()]);
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines().map_while(Result::ok);
        let server = Self { process, address };
        assert!(lines.any(|line| line.contains("Running on")), "the server does not start");
        // The server logs each request to standard error, so the pipe must be read or the server would block.
        std::thread::spawn(move || lines.for_each(drop));
        assert!(server.put("/outputs").unwrap().starts_with("HTTP/1.1 200"));
        Some(server)
    }

    fn put(&self, path: &str) -> std::io::Result<String> {
        let mut stream = TcpStream::connect(self.address)?;
        write!(
            stream,
            "PUT {path} HTTP/1.1\r\nHost: {}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            self.address
        )?;
        let mut response = String::new();
        stream.read_to_string(&mut response)?;
        Ok(response)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

/// The S3 library reads its environment variables itself, so the cases run in a process with these variables set.
#[test]
fn bucket_passes_all_cases() {
    let Some(server) = Server::start() else { return };
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["s3::in_a_bucket", "--exact", "--ignored"]);
    command.env("AWS_ENDPOINT_URL", format!("http://{}", server.address)).env("AWS_REGION", "us-east-1");
    command.env("AWS_ACCESS_KEY_ID", "ork").env("AWS_SECRET_ACCESS_KEY", "s3cret");
    let output = command.output().unwrap();
    let output_text = String::from_utf8_lossy(&output.stdout);
    // Without this check the test would pass even if no test had this name.
    assert!(output.status.success() && output_text.contains("1 passed"), "{output_text}");
}

#[test]
#[ignore = "a process that the test above starts"]
fn in_a_bucket() {
    on(async {
        all("s3://outputs/some/prefix").await;
        all("s3://outputs").await;
        let nowhere = Bucket::open("s3://nowhere/prefix").unwrap();
        let error = nowhere.put("a", "1".into()).await.unwrap_err();
        // A missing bucket may still be created, so the error is not permanent.
        assert_eq!(error.kind(), ObjectErrorKind::Unavailable);
        let message = format!("{error} {error:?} {nowhere:?}");
        assert!(message.contains("s3://nowhere/prefix") && !message.contains("s3cret"), "{message}");
    });
}
