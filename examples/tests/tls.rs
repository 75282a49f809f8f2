//! `amqps://`: a trusted certificate is accepted, an untrusted one is rejected with a message.
#![expect(clippy::unwrap_used, reason = "these are tests")]

use ork_test_support::rabbit;

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};

use rabbit::Rabbit;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

/// Writes a certificate authority, and a certificate for `localhost` that it has signed, as PEM files into a folder.
fn certificates(folder: &Path) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let server = CertificateParams::new(vec!["localhost".to_owned()]).unwrap().signed_by(&key, &authority).unwrap();
    std::fs::write(folder.join("authority.pem"), authority.pem()).unwrap();
    std::fs::write(folder.join("server.pem"), server.pem()).unwrap();
    std::fs::write(folder.join("key.pem"), key.serialize_pem()).unwrap();
}

fn doctor(url: &str, trusted: &Path) -> Output {
    let folder = tempfile::tempdir().unwrap();
    Command::new(env!("CARGO_BIN_EXE_hello"))
        .arg("doctor")
        .current_dir(folder.path())
        .env("ORK_BROKER", url)
        .env("ORK_STORE", "memory:")
        .env("ORK_PREFIX", "tls")
        .env("SSL_CERT_FILE", trusted)
        .env_remove("SSL_CERT_DIR")
        .output()
        .unwrap()
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the tests' own switches are no configuration of ork")]
fn a_trusted_certificate_is_accepted_and_an_untrusted_one_rejected() {
    if !Rabbit::is_installed() {
        let required = std::env::var("ORK_TEST_REQUIRE").unwrap_or_default();
        assert!(!required.contains("amqp"), "RabbitMQ is required (ORK_TEST_REQUIRE) but not installed");
        return;
    }
    let files = tempfile::tempdir().unwrap();
    certificates(files.path());
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let _node = Rabbit::start_with(|_| {
        let path = |name: &str| files.path().join(name).display().to_string();
        format!(
            "listeners.ssl.1 = 127.0.0.1:{port}\nssl_options.cacertfile = {}\nssl_options.certfile = {}\nssl_options.keyfile = {}\nssl_options.verify = verify_none\nssl_options.fail_if_no_peer_cert = false\n",
            path("authority.pem"),
            path("server.pem"),
            path("key.pem")
        )
    });
    let url = format!("amqps://guest:guest@localhost:{port}/%2f");

    let trusted = doctor(&url, &files.path().join("authority.pem"));
    let output = String::from_utf8_lossy(&trusted.stdout).into_owned();
    assert!(trusted.status.success() && output.contains("ok   broker"), "{output}");
    assert!(output.contains("amqps://guest:***@localhost") && !output.contains("guest:guest"), "{output}");

    // Another authority that did not sign the certificate.
    let strangers = tempfile::tempdir().unwrap();
    certificates(strangers.path());
    let refused = doctor(&url, &strangers.path().join("authority.pem"));
    let output = String::from_utf8_lossy(&refused.stdout).into_owned();
    assert_eq!(refused.status.code(), Some(4), "{output}");
    assert!(output.to_lowercase().contains("certificate"), "{output}");
}
