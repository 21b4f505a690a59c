//! The language of the engine target: a byte string as a list of operations.
//!
//! Any bytes are a program: choices are taken modulo what there is to choose from, and a program
//! ends where its bytes do. [`Op::encode`] is the inverse, for seeds.

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// A well-made frame into the burst.
    Packet(Packet),
    /// A frame as a VTEP sends it, with some damage outside.
    Tunnelled { peer: u8, outside: u8, packet: Packet },
    /// Any bytes into the burst, by a port.
    Raw { port: u8, bytes: Vec<u8> },
    /// The answer to a frame the engine sent, that many back: addresses and ports swapped.
    Answer { back: u8, flags: u8 },
    /// A frame the engine sent, that many back, comes in again by another port.
    Loop { back: u8, port: u8 },
    /// An ICMP error about a frame the engine sent, from whom it was sent to.
    Error { back: u8, kind: u8, code: u8 },
    /// Hands the burst to the engine.
    Flush,
    /// Time passes: `STEPS[step]`, `times` plus one times.
    Wait { step: u8, times: u8 },
    /// A command with three arguments.
    Command { kind: u8, a: u8, b: u8, c: u8 },
}

/// A frame of a known host, with some damage if wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Packet {
    /// What it is: see `world::frames`.
    pub kind: u8,
    /// Who sends it: index into the hosts.
    pub sender: u8,
    /// To which address: index into the addresses.
    pub target: u8,
    /// To which MAC: gateway, that of the target, broadcast ...; and the TTL.
    pub hop: u8,
    /// Index into the ports.
    pub sport: u8,
    /// Index into the ports.
    pub dport: u8,
    /// TCP flags, fragment to send, or protocol.
    pub flags: u8,
    /// Payload length in units of eight bytes.
    pub size: u8,
    /// Bytes to be changed, as (position, exclusive or).
    pub damage: Vec<(u8, u8)>,
}

impl Packet {
    fn encode(&self, out: &mut Vec<u8>) {
        let Self { kind, sender, target, hop, sport, dport, flags, size, damage } = self;
        out.extend([*kind, *sender, *target, *hop, *sport, *dport, *flags, *size]);
        let damage = damage.get(..3).unwrap_or(damage);
        out.push(damage.len() as u8);
        out.extend(damage.iter().flat_map(|(at, change)| [*at, *change]));
    }
}

/// Bytes not read yet.
#[derive(Debug)]
pub struct Program<'a>(pub &'a [u8]);

impl Program<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        let (taken, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        taken.to_vec()
    }

    fn packet(&mut self) -> Option<Packet> {
        let mut packet = Packet {
            kind: self.byte()?,
            sender: self.byte()?,
            target: self.byte()?,
            hop: self.byte()?,
            sport: self.byte()?,
            dport: self.byte()?,
            flags: self.byte()?,
            size: self.byte()?,
            damage: Vec::new(),
        };
        for _ in 0..self.byte()? % 4 {
            packet.damage.push((self.byte()?, self.byte()?));
        }
        Some(packet)
    }
}

impl Iterator for Program<'_> {
    type Item = Op;

    fn next(&mut self) -> Option<Op> {
        Some(match self.byte()? % 16 {
            0..=4 => Op::Packet(self.packet()?),
            5 => {
                let (port, len) = (self.byte()?, usize::from(self.byte()?));
                Op::Raw { port, bytes: self.bytes(len) }
            }
            6 | 7 => Op::Answer { back: self.byte()?, flags: self.byte()? },
            8 => Op::Loop { back: self.byte()?, port: self.byte()? },
            9 => Op::Error { back: self.byte()?, kind: self.byte()?, code: self.byte()? },
            10 | 11 => Op::Flush,
            12 | 13 => Op::Wait { step: self.byte()?, times: self.byte()? },
            15 => {
                Op::Tunnelled { peer: self.byte()?, outside: self.byte()?, packet: self.packet()? }
            }
            _ => Op::Command {
                kind: self.byte()?,
                a: self.byte()?,
                b: self.byte()?,
                c: self.byte()?,
            },
        })
    }
}

impl Op {
    /// Appends the bytes that read back as this.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Packet(packet) => {
                out.push(0);
                packet.encode(out);
            }
            Self::Tunnelled { peer, outside, packet } => {
                out.extend([15, *peer, *outside]);
                packet.encode(out);
            }
            Self::Raw { port, bytes } => {
                let bytes = bytes.get(..255).unwrap_or(bytes);
                out.extend([5, *port, bytes.len() as u8]);
                out.extend(bytes);
            }
            Self::Answer { back, flags } => out.extend([6, *back, *flags]),
            Self::Loop { back, port } => out.extend([8, *back, *port]),
            Self::Error { back, kind, code } => out.extend([9, *back, *kind, *code]),
            Self::Flush => out.push(10),
            Self::Wait { step, times } => out.extend([12, *step, *times]),
            Self::Command { kind, a, b, c } => out.extend([14, *kind, *a, *b, *c]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_reads_back() {
        let ops = [
            Op::Packet(Packet { kind: 3, damage: vec![(1, 2), (3, 4)], ..Packet::default() }),
            Op::Tunnelled {
                peer: 1,
                outside: 2,
                packet: Packet { damage: vec![(5, 6)], ..Packet::default() },
            },
            Op::Raw { port: 1, bytes: vec![1, 2, 3] },
            Op::Answer { back: 1, flags: 2 },
            Op::Loop { back: 1, port: 2 },
            Op::Error { back: 1, kind: 2, code: 3 },
            Op::Flush,
            Op::Wait { step: 1, times: 2 },
            Op::Command { kind: 1, a: 2, b: 3, c: 4 },
        ];
        let mut bytes = Vec::new();
        for op in &ops {
            op.encode(&mut bytes);
        }
        assert_eq!(Program(&bytes).collect::<Vec<_>>(), ops);
    }
}
