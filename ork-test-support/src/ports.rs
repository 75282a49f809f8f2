//! Free ports for servers that tests start.

/// Returns a port on which no process listens. It is below the ephemeral ports of the system, so that it is still free
/// when a server that was killed starts again.
pub fn free_port() -> u16 {
    use std::hash::{BuildHasher as _, Hasher as _, RandomState};
    let random = || 20_000 + u16::try_from(RandomState::new().build_hasher().finish() % 12_000).unwrap();
    let is_free = |port: &u16| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok();
    std::iter::repeat_with(random).find(is_free).unwrap()
}
