//! `PostgreSQL` servers for tests: private ones on free loopback ports, which a test can kill and restart, and a shared
//! one for tests that do it no harm, each in its own database.
//!
//! `.ci/services` does the same in shell for the server that a whole test run shares.

use crate::ports::free_port;
use std::cell::RefCell;
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection as _};
use tempfile::TempDir;

/// The time that a server may take to start on a busy machine.
const START: Duration = Duration::from_mins(1);

/// The pause between two checks whether the server is up, as it gives no other sign.
const PAUSE: Duration = Duration::from_millis(50);

/// Starts the server, waits until its own standard input closes, and then takes everything down.
///
/// The input closes with the test process, however that ends, so a server kept in a `static` does not outlive it.
const GUARD: &str = r#"
("$@" </dev/null; kill -KILL 0) &
cat >/dev/null
pkill -KILL --parent "$(head -n 1 "$0/data/postmaster.pid")"
setsid sh -c 'echo apart; sleep 1; rm -rf "$0"' "$0" </dev/null | head -n 1 >/dev/null
kill -KILL 0
"#;

/// A private server. It ends when this is dropped, or with the test process.
#[derive(Debug)]
pub struct Server {
    dir: TempDir,
    port: u16,
    settings: Vec<String>,
    process: Option<Child>,
}

impl Server {
    /// Starts a server, and returns once it accepts connections.
    pub fn start() -> Self {
        Self::start_with(|_| Vec::new())
    }

    /// Starts a server with additional settings (`name=value`), which may name files in its folder.
    pub fn start_with(more: impl FnOnce(&Path) -> Vec<String>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let port = free_port();
        fs::write(dir.path().join("password"), "s3cret\n").unwrap();
        let settings = more(dir.path());
        change_owner(dir.path());
        let data = dir.path().join("data");
        let mut init = as_server_user(&bin("initdb"));
        init.args(["--username=ork", "--auth=scram-sha-256", "--encoding=UTF8", "--no-locale", "--no-sync"])
            .arg(format!("--pwfile={}", dir.path().join("password").display()))
            .arg("--pgdata")
            .arg(&data);
        let made = init.output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let mut server = Self { dir, port, settings, process: None };
        server.restart();
        server
    }

    /// Starts a standby of this server, which replicates it and takes no writes.
    #[must_use]
    pub fn standby(&self) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let port = free_port();
        change_owner(dir.path());
        let mut copy = as_server_user(&bin("pg_basebackup"));
        copy.args(["--write-recovery-conf", "--checkpoint=fast", "--no-sync", "--pgdata"]).arg(dir.path().join("data"));
        copy.args(["--dbname", &self.url("postgres")]);
        let copied = copy.output().unwrap();
        assert!(copied.status.success(), "{}", String::from_utf8_lossy(&copied.stderr));
        let mut server = Self { dir, port, settings: self.settings.clone(), process: None };
        server.restart();
        server
    }

    /// Returns what the server has logged since it was started.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap()
    }

    /// Lets a file of the server's data not grow, by making it the device that is always full. The file must be empty,
    /// and the server must have closed it.
    pub fn fill(&self, file: &str) {
        let path = self.dir.path().join("data").join(file);
        assert_eq!(fs::metadata(&path).unwrap().len(), 0, "{file} is not empty");
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/dev/full", path).unwrap();
    }

    /// Lets the file grow again.
    pub fn empty(&self, file: &str) {
        let path = self.dir.path().join("data").join(file);
        fs::remove_file(&path).unwrap();
        fs::write(&path, "").unwrap();
        change_owner(&path);
    }

    /// Returns the port of the server.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns the URL of one of its databases.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://ork:s3cret@127.0.0.1:{}/{database}", self.port)
    }

    /// Returns the folder of the server.
    pub fn folder(&self) -> &Path {
        self.dir.path()
    }

    /// Kills the server, as a power cut would.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let group = format!("-{}", process.id());
            // The processes that serve connections have their own process groups, and must not outlive the server.
            let serving = self.serving();
            let killed = Command::new("kill").args(["-KILL", "--", &group]).status().unwrap();
            assert!(killed.success(), "cannot end the private server {group}");
            // Some may have ended already.
            let _status = Command::new("kill").arg("-KILL").args(serving).stderr(Stdio::null()).status().unwrap();
            process.wait().unwrap();
            // Otherwise the next server waits for the process with this pid, which may be another program at that
            // time.
            drop(fs::remove_file(self.dir.path().join("data/postmaster.pid")));
        }
    }

    /// Starts the server again with its old data, and returns once it accepts connections.
    pub fn restart(&mut self) {
        self.kill();
        let log = self.dir.path().join("log");
        let mut left = START;
        // The processes that served connections of the previous server end a moment after it, and until then its memory
        // is in use.
        while !self.is_up() {
            assert!(!left.is_zero(), "PostgreSQL does not start: {}", fs::read_to_string(&log).unwrap_or_default());
            if self.process.as_mut().is_none_or(|process| process.try_wait().unwrap().is_some()) {
                self.process = Some(self.spawn(&log));
            }
            left = left.saturating_sub(PAUSE);
            std::thread::sleep(PAUSE);
        }
    }

    /// Stops the processes of the server: it still accepts connections, but does not respond.
    pub fn freeze(&self) {
        self.signal("STOP");
    }

    /// Lets the processes of the server continue.
    pub fn thaw(&self) {
        self.signal("CONT");
    }

    /// Sends a signal to the server and its child processes.
    fn signal(&self, signal: &str) {
        let mut kill = Command::new("kill");
        // Some may have ended already.
        let _status = kill.arg(format!("-{signal}")).args(self.serving()).stderr(Stdio::null()).status().unwrap();
    }

    /// Returns the pids of the server and of its child processes.
    fn serving(&self) -> Vec<String> {
        let pid = fs::read_to_string(self.dir.path().join("data/postmaster.pid")).unwrap_or_default();
        let Some(pid) = pid.lines().next() else { return Vec::new() };
        let children = Command::new("pgrep").args(["--parent", pid]).output().unwrap();
        let children = String::from_utf8(children.stdout).unwrap();
        children.lines().chain([pid]).map(str::to_owned).collect()
    }

    fn spawn(&self, log: &Path) -> Child {
        let log = fs::File::create(log).unwrap();
        let server = as_server_user(&bin("postgres"));
        let mut command = Command::new("bash");
        command.args(["-c", GUARD]).arg(self.dir.path()).arg(server.get_program()).args(server.get_args());
        command.arg("-D").arg(self.dir.path().join("data"));
        let port = format!("port={}", self.port);
        let fixed = [
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            "fsync=off",
            "max_connections=500",
            "max_wal_size=64MB",
            "min_wal_size=32MB",
            &port,
        ];
        for setting in fixed.into_iter().chain(self.settings.iter().map(String::as_str)) {
            command.args(["-c", setting]);
        }
        command.current_dir("/").stdin(Stdio::piped()).stdout(log.try_clone().unwrap()).stderr(log).process_group(0);
        command.spawn().unwrap()
    }

    fn is_up(&self) -> bool {
        let mut look = Command::new(bin("pg_isready"));
        look.args(["--quiet", "--host=127.0.0.1", "--port", &self.port.to_string()]);
        look.status().unwrap().success()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Returns a command that runs `program` as the user that its package has created if the tests run as root, because
/// the server does not run as root.
fn as_server_user(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("runuser");
    command.args(["-u", "postgres", "--"]).arg(program).current_dir("/");
    command
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output().unwrap();
    id.stdout.trim_ascii() == b"0"
}

/// Makes the user of the server the owner of a folder.
fn change_owner(folder: &Path) {
    if is_root() {
        assert!(Command::new("chown").args(["-R", "postgres"]).arg(folder).status().unwrap().success());
    }
}

fn bin(program: &str) -> PathBuf {
    installed().unwrap().join(program)
}

/// Returns the folder with the newest server where Debian puts it, or the one in `PATH`.
fn installed() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut folders: Vec<_> = versions.map(|version| version.path().join("bin")).collect();
    folders.sort();
    let found = folders.into_iter().rev().find(|folder| folder.join("initdb").exists());
    found.or_else(|| {
        let which = Command::new("sh").args(["-c", "command -v initdb"]).output().ok()?;
        let path = String::from_utf8(which.stdout).ok()?;
        Some(Path::new(path.trim()).parent().filter(|folder| folder.is_absolute())?.to_owned())
    })
}

/// Starts a server that the caller may harm; `None` if PostgreSQL is neither installed nor required.
#[expect(clippy::print_stdout, reason = "a test that was skipped must say so")]
pub fn private() -> Option<Server> {
    if installed().is_some() {
        return Some(Server::start());
    }
    let required = environment("ORK_TEST_REQUIRE").unwrap_or_default();
    assert!(
        !required.split(',').any(|service| service.trim() == "postgres"),
        "PostgreSQL is required (ORK_TEST_REQUIRE) but not installed: run `.ci/services install`, or set ORK_TEST_POSTGRES_URL"
    );
    println!("skipped: PostgreSQL is not installed; run `.ci/services install`, or set ORK_TEST_POSTGRES_URL");
    None
}

/// Creates an empty database on the server that tests share, which is dropped when this thread ends, which is that of
/// the test. `None` if PostgreSQL is neither available nor required.
pub async fn database() -> Option<String> {
    static SERVER: OnceLock<Option<(String, Option<Server>)>> = OnceLock::new();
    let server = SERVER.get_or_init(|| match environment("ORK_TEST_POSTGRES_URL") {
        Some(url) => Some((url, None)),
        None => private().map(|server| (server.url("postgres"), Some(server))),
    });
    let (url, _) = server.as_ref()?;
    let made = create(url).await;
    MADE.with_borrow_mut(|all| all.0.push((url.clone(), made.clone())));
    Some(made)
}

thread_local! {
    static MADE: RefCell<MadeParts> = RefCell::default();
}

/// The databases of a test, each after the URL of its server.
#[derive(Default)]
struct MadeParts(Vec<(String, String)>);

impl Drop for MadeParts {
    fn drop(&mut self) {
        let made = std::mem::take(&mut self.0);
        // A thread that is ending cannot block on a runtime that it creates, so another thread does.
        let remove = std::thread::spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                for (server, url) in made {
                    remove(&server, &url).await;
                }
            });
        });
        drop(remove.join());
    }
}

/// Drops a database, even if there are connections to it. If the server is gone, so is the database.
async fn remove(server: &str, url: &str) {
    let before = url.split('?').next().unwrap();
    let name = before.rsplit_once('/').unwrap().1;
    let Ok(mut connection) = PgConnection::connect(server).await else { return };
    let query = AssertSqlSafe(format!("DROP DATABASE {name} WITH (FORCE)"));
    sqlx::raw_sql(query).execute(&mut connection).await.unwrap();
}

/// Opens a connection for the test itself.
pub async fn connect(url: &str) -> PgConnection {
    PgConnection::connect(url).await.unwrap()
}

/// Creates an empty database on the server of this URL, and returns its URL.
pub async fn create(url: &str) -> String {
    let name = format!("ork_test_{}", uuid::Uuid::new_v4().simple());
    let mut connection = PgConnection::connect(url).await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(format!("CREATE DATABASE {name}"))).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    let (before, options) = url.split_once('?').map_or((url, None), |(before, options)| (before, Some(options)));
    let server = before.rsplit_once('/').unwrap().0;
    format!("{server}/{name}{}", options.map(|options| format!("?{options}")).unwrap_or_default())
}

#[expect(clippy::disallowed_methods, reason = "the tests' own switches are no configuration of ork")]
fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
