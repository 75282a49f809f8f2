//! Connections to a server: a server that cannot be used is rejected with a clear error.

use std::path::Path;

use ork_ports::store::{Store as _, StoreError, StoreErrorKind};
use ork_postgres::Postgres;
use sqlx::AssertSqlSafe;

use super::postgres::{self, Server};
use super::world::{World, on};

async fn refused(url: &str) -> StoreError {
    let error = Postgres::open(url).await.unwrap_err();
    let message = format!("{error} {error:?}");
    assert!(!message.contains("s3cret") && !message.contains("wr0ng"), "{message}");
    error
}

async fn sql(url: &str, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut postgres::connect(url).await).await.unwrap();
}

#[test]
fn connection_errors_are_reported_with_advice() {
    let Some(server) = postgres::private() else { return };
    on(async {
        let place = format!("127.0.0.1:{}", server.port());
        let error = refused(&server.url("postgres").replace("s3cret", "wr0ng")).await;
        assert_eq!(error.kind(), StoreErrorKind::Config);
        let message = error.to_string();
        assert!(
            message.contains(&place) && message.contains("user `ork`") && message.contains("password"),
            "{message}"
        );

        let error = refused(&server.url("nowhere")).await;
        assert_eq!(error.kind(), StoreErrorKind::Config);
        assert!(error.to_string().contains("no database `nowhere`"), "{error}");

        let error = refused("postgres://ork:s3cret@127.0.0.1:1/jobs").await;
        assert_eq!(error.kind(), StoreErrorKind::Unavailable);
        let message = error.to_string();
        assert!(
            message.contains("127.0.0.1:1") && message.contains("`jobs`") && message.contains("`ork`"),
            "{message}"
        );

        let error = refused(&format!("{}?sslmode=require", server.url("postgres"))).await;
        assert_eq!(error.kind(), StoreErrorKind::Config);
        assert!(error.to_string().contains("sslmode"), "{error}");
    });
}

#[test]
fn a_server_without_free_connections_is_reported() {
    let Some(server) = with(|_| vec!["max_connections=4".into(), "superuser_reserved_connections=0".into()]) else {
        return;
    };
    on(async {
        let url = server.url("postgres");
        let mut open = Vec::new();
        let error = loop {
            match Postgres::open(&url).await {
                Ok(store) => open.push(store),
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), StoreErrorKind::Unavailable);
        assert!(error.to_string().contains("max_connections"), "{error}");
        for store in open {
            store.close().await;
        }
        Postgres::open(&url).await.unwrap().close().await;
    });
}

#[test]
fn foreign_and_newer_schemas_are_rejected() {
    on(async {
        let Some(url) = postgres::database().await else { return };
        sql(&url, "CREATE SCHEMA ork; CREATE TABLE ork.job (theirs text)").await;
        let error = refused(&url).await;
        assert_eq!(error.kind(), StoreErrorKind::Config);
        assert!(error.to_string().contains("another program"), "{error}");

        // An empty schema may have been created for ork.
        sql(&url, "DROP SCHEMA ork CASCADE; CREATE SCHEMA ork").await;
        Postgres::open(&url).await.unwrap().close().await;

        sql(&url, "UPDATE ork.store SET schema_version = 99").await;
        let error = refused(&url).await;
        assert_eq!(error.kind(), StoreErrorKind::TooNew);
        assert!(error.to_string().contains("schema version 99"), "{error}");
    });
}

#[test]
fn a_schema_of_a_development_version_is_rejected_with_advice() {
    on(async {
        let Some(url) = postgres::database().await else { return };
        let old = "CREATE SCHEMA ork; CREATE TABLE ork.job (id uuid PRIMARY KEY, base bigint NOT NULL); \
                   CREATE TABLE ork.ork_schema (version bigint NOT NULL); INSERT INTO ork.ork_schema VALUES (1)";
        sql(&url, old).await;
        let error = refused(&url).await;
        assert_eq!(error.kind(), StoreErrorKind::Config);
        let (message, database) = (error.to_string(), url.rsplit('/').next().unwrap());
        for expected in [
            "the schema `ork` in the database `",
            database,
            "was made by a development version of ork before 0.1.0 and cannot be read",
            "drop it with `DROP SCHEMA ork CASCADE`, or use another database in ORK_STORE, and start again",
        ] {
            assert!(message.contains(expected), "{message}");
        }
        sql(&url, "DROP SCHEMA ork CASCADE").await;
        Postgres::open(&url).await.unwrap().close().await;
    });
}

#[test]
fn a_failed_migration_leaves_nothing() {
    on(async {
        let Some(url) = postgres::database().await else { return };
        sql(
            &url,
            "CREATE FUNCTION refuse() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN \
                 IF EXISTS (SELECT FROM pg_event_trigger_ddl_commands() WHERE object_identity = 'ork.outbox') \
                 THEN RAISE EXCEPTION 'no'; END IF; END $$; \
             CREATE EVENT TRIGGER refuse ON ddl_command_end EXECUTE FUNCTION refuse()",
        )
        .await;
        refused(&url).await;
        sql(&url, "DROP EVENT TRIGGER refuse; CREATE SCHEMA ork; DROP SCHEMA ork").await;
        Postgres::open(&url).await.unwrap().close().await;
    });
}

#[test]
fn a_process_describes_the_server_and_leaves_no_row() {
    on(async {
        let Some(url) = postgres::database().await else { return };
        let world = World::postgres(&url).await;
        let report = world.store.check().await.unwrap();
        assert!(
            report.starts_with("PostgreSQL ") && report.contains("without TLS") && report.contains("0 jobs"),
            "{report}"
        );
        assert!(!format!("{:?}", world.store).contains("s3cret"));
        world.store.close().await;
        world.store.close().await;
        let error = world.store.check().await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Closed);
        let left = "DO $$ BEGIN ASSERT (SELECT count(*) FROM ork.writer) = 0; END $$";
        sql(&url, left).await;
    });
}

#[test]
fn zero_bytes_in_texts_do_no_harm() {
    on(async {
        let Some(url) = postgres::database().await else { return };
        let world = World::postgres(&url).await;
        let id = world.submit("nul\0task").await;
        let progress = ork_core::progress::Progress { percent: 1.0, info: "a\0b".into() };
        world.store.progress(id, None, progress).await.unwrap();
        assert_eq!(world.take(10).await.len(), 1);
        world.store.close().await;
    });
}

/// Regression: such a database was accepted, and a job whose failure contained other characters was settled again and
/// again.
#[test]
fn a_database_with_another_encoding_is_rejected_with_advice() {
    let Some(server) = postgres::private() else { return };
    on(async {
        let make = "CREATE DATABASE latin ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0";
        sql(&server.url("postgres"), make).await;
        let error = Postgres::open(&server.url("latin")).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Config);
        let message = error.to_string();
        assert!(message.contains("has the encoding LATIN1, but ork requires UTF8"), "{message}");
        assert!(message.contains("createdb --encoding=UTF8 --template=template0"), "{message}");
    });
}

/// Starts a private server with these settings.
fn with(more: impl FnOnce(&Path) -> Vec<String>) -> Option<Server> {
    drop(postgres::private()?);
    Some(Server::start_with(more))
}

#[test]
fn tls_is_used_as_the_url_says_and_certificates_are_checked() {
    let mut authority = rcgen::CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority_key = rcgen::KeyPair::generate().unwrap();
    let root = authority.self_signed(&authority_key).unwrap().pem();
    let issuer = rcgen::Issuer::new(authority, authority_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let hosts = vec!["localhost".to_owned()];
    let certificate = rcgen::CertificateParams::new(hosts).unwrap().signed_by(&key, &issuer).unwrap().pem();
    let server = with(|folder| {
        std::fs::write(folder.join("server.crt"), certificate).unwrap();
        std::fs::write(folder.join("server.key"), key.serialize_pem()).unwrap();
        std::fs::set_permissions(folder.join("server.key"), std::os::unix::fs::PermissionsExt::from_mode(0o600))
            .unwrap();
        let file = |name: &str| folder.join(name).display().to_string();
        vec![
            "ssl=on".into(),
            format!("ssl_cert_file={}", file("server.crt")),
            format!("ssl_key_file={}", file("server.key")),
        ]
    });
    let Some(server) = server else { return };
    let folder = tempfile::tempdir().unwrap();
    let trusted = folder.path().join("root.crt");
    std::fs::write(&trusted, root).unwrap();
    let trusted = trusted.display();
    on(async {
        let url = server.url("postgres");
        let named = url.replace("127.0.0.1", "localhost");
        let ways = [
            (&url, "sslmode=require".to_owned(), "with TLSv1.3"),
            (&url, "sslmode=disable".to_owned(), "without TLS"),
            (&url, String::new(), "with TLSv1.3"),
            (&url, format!("sslmode=verify-ca&sslrootcert={trusted}"), "with TLSv1.3"),
            (&named, format!("sslmode=verify-full&sslrootcert={trusted}"), "with TLSv1.3"),
        ];
        for (url, how, found) in ways {
            let store =
                Postgres::open(&format!("{url}?{how}")).await.unwrap_or_else(|error| panic!("{how}: {error:?}"));
            let report = store.check().await.unwrap();
            assert!(report.contains(found), "{how}: {report}");
            store.close().await;
        }
        // The name in the certificate differs, or no authority that the system trusts has signed it.
        for how in [format!("sslmode=verify-full&sslrootcert={trusted}"), "sslmode=verify-full".to_owned()] {
            let error = refused(&format!("{url}?{how}")).await;
            assert_eq!(error.kind(), StoreErrorKind::Config, "{how}: {error:?}");
            assert!(error.to_string().contains("certificate"), "{how}: {error}");
        }
    });
}
