//! The little of HTTP/1.0 (RFC 1945) that the demo's hosts speak: one GET, one line of text.

use std::net::{Ipv4Addr, SocketAddrV4};

/// A request or answer longer than this is not one of ours, in bytes.
pub const MAX_MESSAGE: usize = 4096;
const HEAD_END: &[u8] = b"\r\n\r\n";
const LENGTH: &str = "content-length:";

/// The request for `/`.
pub fn request(host: Ipv4Addr) -> Vec<u8> {
    format!("GET / HTTP/1.0\r\nHost: {host}\r\n\r\n").into_bytes()
}

/// What a host's server answers: who it is, and whom it saw. None until the request is whole.
pub fn respond(name: &str, client: SocketAddrV4, request: &[u8]) -> Option<Vec<u8>> {
    let is_whole = request.windows(HEAD_END.len()).any(|window| window == HEAD_END);
    let (status, body) = if request.len() > MAX_MESSAGE {
        ("413 Payload Too Large", String::new())
    } else if !is_whole {
        return None;
    } else if !request.starts_with(b"GET ") {
        ("405 Method Not Allowed", String::new())
    } else {
        ("200 OK", greeting(name, *client.ip()))
    };
    let head = format!(
        "HTTP/1.0 {status}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    Some((head + &body).into_bytes())
}

/// The body that [`respond`] sends.
pub fn greeting(name: &str, client: Ipv4Addr) -> String {
    format!("{name} here, you are {client}\n")
}

/// The body of an answer; none until it is whole, or if it is no success.
pub fn body(answer: &[u8]) -> Option<String> {
    let at = answer.windows(HEAD_END.len()).position(|window| window == HEAD_END)?;
    let (head, rest) = answer.split_at_checked(at)?;
    let head = std::str::from_utf8(head).ok()?.to_ascii_lowercase();
    let mut lines = head.lines();
    lines.next()?.split_ascii_whitespace().nth(1).filter(|status| *status == "200")?;
    let length = lines.find_map(|line| line.strip_prefix(LENGTH))?;
    let length: usize = length.trim().parse().ok()?;
    let body = rest.get(HEAD_END.len()..)?.get(..length)?;
    String::from_utf8(body.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_when_it_is_whole_and_not_before() {
        let client = SocketAddrV4::new(Ipv4Addr::new(192, 168, 33, 20), 4000);
        let asked = request(Ipv4Addr::new(192, 168, 33, 10));
        assert_eq!(respond("nginx1", client, &asked[..asked.len() - 1]), None);
        let answer = respond("nginx1", client, &asked).unwrap();
        assert_eq!(body(&answer[..answer.len() - 1]), None);
        assert_eq!(body(&answer).unwrap(), "nginx1 here, you are 192.168.33.20\n");
        let refused = respond("nginx1", client, b"POST / HTTP/1.0\r\n\r\n").unwrap();
        assert_eq!(body(&refused), None);
        assert!(respond("nginx1", client, &[b'x'; MAX_MESSAGE + 1]).is_some());
    }
}
