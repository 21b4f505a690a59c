//! A resolver for the tests: what it does hangs on the name it is asked for.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use hickory_proto::op::{Message, MessageType, ResponseCode};
use hickory_proto::rr::rdata::{A, SOA};
use hickory_proto::rr::{Name, RData, Record};

/// Between two looks at whether it is to end.
const LOOK: Duration = Duration::from_millis(50);

/// A question that came.
#[derive(Clone, Debug)]
pub struct Asked {
    pub id: u16,
    pub from: SocketAddr,
    pub name: String,
    pub is_dnssec_ok: bool,
    pub checking_disabled: bool,
}

/// The server; it ends when dropped.
///
/// | name | answer |
/// |---|---|
/// | `silent.*` | none |
/// | `fail.*`, `refused.*` | SERVFAIL, REFUSED |
/// | `nx.*` | NXDOMAIN for 30 s |
/// | `big.*` | cut by UDP, 60 addresses by TCP |
/// | `lie.*` | forged ones first: another id, another question |
/// | others | its own address, for 300 s |
pub struct Upstream {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    is_over: Arc<Mutex<bool>>,
    threads: Vec<JoinHandle<()>>,
}

impl Upstream {
    /// On an address of this host; `last` is the last byte of what it answers.
    pub fn start(address: &str, last: u8) -> Self {
        let udp = UdpSocket::bind(address).unwrap();
        udp.set_read_timeout(Some(LOOK)).unwrap();
        let address = udp.local_addr().unwrap();
        let tcp = TcpListener::bind(address).unwrap();
        tcp.set_nonblocking(true).unwrap();
        let (asked, is_over) = (Arc::default(), Arc::new(Mutex::new(false)));
        let by_udp = (Arc::clone(&asked), is_over.clone());
        let by_tcp = (Arc::clone(&asked), is_over.clone());
        let threads = vec![
            std::thread::spawn(move || serve_udp(&udp, last, &by_udp)),
            std::thread::spawn(move || serve_tcp(&tcp, last, &by_tcp)),
        ];
        Self { address, asked, is_over, threads }
    }

    /// As a setting of tapway.
    pub fn quoted(&self) -> String {
        format!("\"{}\"", self.address)
    }

    /// What it was asked about a name.
    pub fn asked(&self, name: &str) -> Vec<Asked> {
        let all = self.asked.lock().unwrap();
        all.iter().filter(|asked| asked.name.eq_ignore_ascii_case(name)).cloned().collect()
    }

    /// All that it was asked.
    pub fn all(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        *self.is_over.lock().unwrap() = true;
        for thread in self.threads.drain(..) {
            thread.join().unwrap();
        }
    }
}

type Shared = (Arc<Mutex<Vec<Asked>>>, Arc<Mutex<bool>>);

fn serve_udp(socket: &UdpSocket, last: u8, (asked, is_over): &Shared) {
    let mut room = [0; 65_535];
    while !*is_over.lock().unwrap() {
        let Ok((len, from)) = socket.recv_from(&mut room) else { continue };
        let query = Message::from_vec(&room[..len]).unwrap();
        asked.lock().unwrap().push(note(&query, from));
        for answer in answers(&query, last, false) {
            socket.send_to(&answer, from).unwrap();
        }
    }
}

fn serve_tcp(listener: &TcpListener, last: u8, (asked, is_over): &Shared) {
    while !*is_over.lock().unwrap() {
        let Ok((mut stream, from)) = listener.accept() else {
            std::thread::sleep(LOOK);
            continue;
        };
        stream.set_nonblocking(false).unwrap();
        let mut len = [0; 2];
        stream.read_exact(&mut len).unwrap();
        let mut query = vec![0; usize::from(u16::from_be_bytes(len))];
        stream.read_exact(&mut query).unwrap();
        let query = Message::from_vec(&query).unwrap();
        asked.lock().unwrap().push(note(&query, from));
        for answer in answers(&query, last, true) {
            let len = u16::try_from(answer.len()).unwrap().to_be_bytes();
            stream.write_all(&[&len, answer.as_slice()].concat()).unwrap();
        }
    }
}

fn note(query: &Message, from: SocketAddr) -> Asked {
    Asked {
        id: query.metadata.id,
        from,
        name: query.queries[0].name().to_ascii(),
        is_dnssec_ok: query.edns.as_ref().is_some_and(|edns| edns.flags().dnssec_ok),
        checking_disabled: query.metadata.checking_disabled,
    }
}

fn answers(query: &Message, last: u8, is_tcp: bool) -> Vec<Vec<u8>> {
    let mut answer = Message::response(query.metadata.id, query.metadata.op_code);
    answer.metadata.message_type = MessageType::Response;
    answer.metadata.recursion_desired = query.metadata.recursion_desired;
    answer.metadata.recursion_available = true;
    answer.metadata.authentic_data = true;
    answer.add_query(query.queries[0].clone());
    if let Some(edns) = query.edns.clone() {
        answer.set_edns(edns);
    }
    let name = query.queries[0].name().clone();
    let address = |host| Record::from_rdata(name.clone(), 300, RData::A(A::new(192, 0, 2, host)));
    let text = name.to_ascii().to_ascii_lowercase();
    match text.split('.').next().unwrap() {
        "silent" => return Vec::new(),
        "fail" => answer.metadata.response_code = ResponseCode::ServFail,
        "refused" => answer.metadata.response_code = ResponseCode::Refused,
        "nx" => {
            answer.metadata.response_code = ResponseCode::NXDomain;
            let soa = SOA::new(Name::root(), Name::root(), 1, 1, 1, 1, 30);
            answer.add_authority(Record::from_rdata(Name::root(), 900, RData::SOA(soa)));
        }
        "big" if is_tcp => drop(answer.add_answers((0..60).map(address))),
        "big" => answer.metadata.truncation = true,
        "lie" => {
            answer.add_answer(address(last));
            return forged(&answer);
        }
        _ => drop(answer.add_answer(address(last))),
    }
    vec![answer.to_vec().unwrap()]
}

/// The answer after two that a stranger might have sent.
fn forged(answer: &Message) -> Vec<Vec<u8>> {
    let evil = |name: &Name| {
        vec![Record::from_rdata(name.clone(), 300, RData::A(A::new(203, 0, 113, 66)))]
    };
    let mut other_id = answer.clone();
    other_id.metadata.id ^= 1;
    other_id.answers = evil(answer.queries[0].name());
    let mut other_question = answer.clone();
    let name = Name::from_ascii("other.test.").unwrap();
    other_question.queries[0].set_name(name.clone());
    other_question.answers = evil(&name);
    [&other_id, &other_question, answer].map(|message| message.to_vec().unwrap()).to_vec()
}
