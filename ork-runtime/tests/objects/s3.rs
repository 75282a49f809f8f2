//! A bucket, on a server that speaks S3: moto, which the tests' Python brings.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use ork::objects::ObjectErrorKind;
use ork::objects::Objects as _;
use ork::objects::bucket::Bucket;

use super::cases::{all, on};
use super::installed::python;

/// Ends when its input does, so that it does not outlive the test, however that ends.
const SERVER: &str = "
import os, sys, threading
from moto.server import main
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
main(sys.argv[1:])
";

/// The server; it ends when this is dropped, or with this process.
struct Server {
    process: Child,
    address: SocketAddr,
}

impl Server {
    /// A server with a bucket; `None` if there is no Python with it and none is required.
    fn start() -> Option<Self> {
        let python = python()?;
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut command = Command::new(python);
        command.args(["-c", SERVER, "-H", "127.0.0.1", "-p", &address.port().to_string()]);
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut words = BufReader::new(process.stderr.take().unwrap()).lines().map_while(Result::ok);
        let server = Self { process, address };
        assert!(words.any(|line| line.contains("Running on")), "the server does not start");
        // It says a word for each request, and somebody must read it.
        std::thread::spawn(move || words.for_each(drop));
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
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

/// The variables are read by the library for S3 itself, so the cases need a process of their own.
#[test]
fn a_bucket_does_it() {
    let Some(server) = Server::start() else { return };
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["s3::in_a_bucket", "--exact", "--ignored"]);
    command.env("AWS_ENDPOINT_URL", format!("http://{}", server.address)).env("AWS_REGION", "us-east-1");
    command.env("AWS_ACCESS_KEY_ID", "ork").env("AWS_SECRET_ACCESS_KEY", "s3cret");
    let output = command.output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    // A name that no test has would pass, too.
    assert!(output.status.success() && told.contains("1 passed"), "{told}");
}

#[test]
#[ignore = "for a process of its own: run by the one above"]
fn in_a_bucket() {
    on(async {
        all("s3://outputs/some/prefix").await;
        all("s3://outputs").await;
        let nowhere = Bucket::open("s3://nowhere/prefix").unwrap();
        let error = nowhere.put("a", "1".into()).await.unwrap_err();
        // It may be made yet.
        assert_eq!(error.kind(), ObjectErrorKind::Unavailable);
        let words = format!("{error} {error:?} {nowhere:?}");
        assert!(words.contains("s3://nowhere/prefix") && !words.contains("s3cret"), "{words}");
    });
}
