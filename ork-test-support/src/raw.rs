//! A publisher that writes AMQP byte by byte, for messages that no client library would send.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use lapin::uri::AMQPUri;

/// Publishes one persistent message with these bytes as its `message_id`.
pub fn publish_named(url: &str, exchange: &str, routing_key: &str, message_id: &[u8], body: &[u8]) {
    let uri: AMQPUri = url.parse().unwrap();
    let login = uri.authority.userinfo;
    let mut stream = TcpStream::connect((uri.authority.host.as_str(), uri.authority.port)).unwrap();
    stream.write_all(b"AMQP\x00\x00\x09\x01").unwrap();
    expect(&mut stream, 10, 10);
    let secret = format!("\0{}\0{}", login.username, login.password);
    let start = [&[0; 4][..], &short(b"PLAIN"), &long(secret.as_bytes()), &short(b"en_US")].concat();
    method(&mut stream, 0, 10, 11, &start);
    expect(&mut stream, 10, 30);
    method(&mut stream, 0, 10, 31, &[0, 10, 0, 2, 0, 0, 0, 0]);
    method(&mut stream, 0, 10, 40, &[short(uri.vhost.as_bytes()), vec![0, 0]].concat());
    expect(&mut stream, 10, 41);
    method(&mut stream, 1, 20, 10, &[0]);
    expect(&mut stream, 20, 11);
    let names = [&[0, 0][..], &short(exchange.as_bytes()), &short(routing_key.as_bytes()), &[0]].concat();
    method(&mut stream, 1, 60, 40, &names);
    // Class 60, weight 0, the size of the body, the flags for delivery mode and message id, and these two values.
    let size = u64::try_from(body.len()).unwrap().to_be_bytes();
    frame(&mut stream, 2, 1, &[&[0, 60, 0, 0][..], &size, &[0x10, 0x80, 2], &short(message_id)].concat());
    frame(&mut stream, 3, 1, body);
    method(&mut stream, 1, 20, 40, &[&200_u16.to_be_bytes()[..], &[0; 5]].concat());
    expect(&mut stream, 20, 41);
}

fn short(bytes: &[u8]) -> Vec<u8> {
    [&[u8::try_from(bytes.len()).unwrap()], bytes].concat()
}

fn long(bytes: &[u8]) -> Vec<u8> {
    [&u32::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat()
}

fn method(stream: &mut TcpStream, channel: u16, class: u8, method: u8, arguments: &[u8]) {
    frame(stream, 1, channel, &[&[0, class, 0, method], arguments].concat());
}

fn frame(stream: &mut TcpStream, kind: u8, channel: u16, payload: &[u8]) {
    let frame = [&[kind], &channel.to_be_bytes()[..], &long(payload), &[0xce]].concat();
    stream.write_all(&frame).unwrap();
}

fn expect(stream: &mut TcpStream, class: u8, method: u8) {
    let mut head = [0; 7];
    stream.read_exact(&mut head).unwrap();
    let size = u32::from_be_bytes(head[3..].try_into().unwrap());
    let mut payload = vec![0; usize::try_from(size).unwrap() + 1];
    stream.read_exact(&mut payload).unwrap();
    assert_eq!(payload[..4], [0, class, 0, method], "{}", String::from_utf8_lossy(&payload));
}
