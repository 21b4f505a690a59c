//! What is measured, and where.

use clap::ValueEnum;
use serde::Serialize;

/// Who talks to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Scenario {
    /// Two hosts of one network.
    L2,
    /// A host inside talks to one outside, whose address translation it does not see.
    Nat,
    /// A host outside talks to a published port of one inside.
    Published,
    /// As L2, while a third host floods a fourth, and a fifth sends a TCP stream.
    Fairness,
    /// Two hosts of one network, each at a machine of its own, and VXLAN between the machines.
    Vxlan,
}

impl Scenario {
    /// All, in the order of reports.
    pub const ALL: [Self; 5] = [Self::L2, Self::Nat, Self::Published, Self::Fairness, Self::Vxlan];
    /// Those of one machine, which are measured unless others are asked for.
    pub const DEFAULT: [Self; 4] = [Self::L2, Self::Nat, Self::Published, Self::Fairness];

    /// Its name on the command line and in JSON.
    pub const fn key(self) -> &'static str {
        match self {
            Self::L2 => "l2",
            Self::Nat => "nat",
            Self::Published => "published",
            Self::Fairness => "fairness",
            Self::Vxlan => "vxlan",
        }
    }

    /// A heading.
    pub const fn title(self) -> &'static str {
        match self {
            Self::L2 => "L2: two hosts of one network",
            Self::Nat => "NAT: a host inside to a host outside",
            Self::Published => "Published: a host outside to a published port inside",
            Self::Fairness => "Fairness: one host floods small UDP, two others ping and stream",
            Self::Vxlan => "VXLAN: two hosts of one network, each at its own machine",
        }
    }
}

/// A measurement; it gives one or more [`Figure`]s.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Test {
    /// One TCP stream.
    Tcp1,
    /// Four TCP streams.
    Tcp4,
    /// Small UDP, as fast as the sender can.
    Udp,
    /// Small UDP, at the highest rate that loses at most 0.5 %.
    Lossless,
    /// TCP connections opened and closed.
    Connects,
    /// One byte to and fro.
    Rtt,
    /// CPU without traffic, after traffic.
    Rest,
    /// The others beside a flood; in the fairness scenario only.
    Fairness,
}

impl Test {
    /// Those that a scenario has, in groups that share one start of the switch.
    pub const fn groups(scenario: Scenario) -> &'static [&'static [Self]] {
        match scenario {
            Scenario::Fairness => &[&[Self::Fairness]],
            Scenario::Vxlan => &[&[Self::Tcp1], &[Self::Udp], &[Self::Rtt]],
            _ => &[
                &[Self::Tcp1, Self::Tcp4],
                &[Self::Udp, Self::Lossless],
                &[Self::Rtt, Self::Connects, Self::Rest],
            ],
        }
    }

    /// Its name on the command line.
    pub const fn key(self) -> &'static str {
        match self {
            Self::Tcp1 => "tcp1",
            Self::Tcp4 => "tcp4",
            Self::Udp => "udp",
            Self::Lossless => "lossless",
            Self::Connects => "connects",
            Self::Rtt => "rtt",
            Self::Rest => "rest",
            Self::Fairness => "fairness",
        }
    }

    /// The figures it gives.
    pub const fn figures(self) -> &'static [Figure] {
        match self {
            Self::Tcp1 => &[Figure::Tcp1, Figure::Tcp1Cpu],
            Self::Tcp4 => &[Figure::Tcp4, Figure::Tcp4Cpu],
            Self::Udp => &[Figure::Flood, Figure::FloodCpu],
            Self::Lossless => &[Figure::Lossless],
            Self::Connects => &[Figure::Connects],
            Self::Rtt => &[Figure::RttP50, Figure::RttP99],
            Self::Rest => &[Figure::Rest],
            Self::Fairness => {
                &[Figure::FairTcp, Figure::FairP50, Figure::FairP99, Figure::FairFlood]
            }
        }
    }
}

/// One number of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Figure {
    /// Throughput of one TCP stream.
    Tcp1,
    /// CPU for it.
    Tcp1Cpu,
    /// Throughput of four TCP streams together.
    Tcp4,
    /// CPU for them.
    Tcp4Cpu,
    /// Small datagrams received under flood.
    Flood,
    /// CPU for them.
    FloodCpu,
    /// Small datagrams per second with at most 0.5 % lost.
    Lossless,
    /// TCP connections per second.
    Connects,
    /// Median round-trip time.
    RttP50,
    /// 99th percentile of the round-trip time.
    RttP99,
    /// Cores used at rest by the switch's processes.
    Rest,
    /// Throughput of a TCP stream beside a flood.
    FairTcp,
    /// Median round-trip time beside a flood.
    FairP50,
    /// 99th percentile of it.
    FairP99,
    /// What the flooded host received meanwhile.
    FairFlood,
}

impl Figure {
    /// All, in the order of reports.
    pub const ALL: [Self; 15] = [
        Self::Tcp1,
        Self::Tcp1Cpu,
        Self::Tcp4,
        Self::Tcp4Cpu,
        Self::Flood,
        Self::FloodCpu,
        Self::Lossless,
        Self::Connects,
        Self::RttP50,
        Self::RttP99,
        Self::Rest,
        Self::FairTcp,
        Self::FairP50,
        Self::FairP99,
        Self::FairFlood,
    ];

    /// (name in JSON, heading, unit).
    const fn names(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Tcp1 => ("tcp1", "TCP, 1 stream", "Gbit/s"),
            Self::Tcp1Cpu => ("tcp1_cpu", "CPU, 1 stream", "s/GB"),
            Self::Tcp4 => ("tcp4", "TCP, 4 streams", "Gbit/s"),
            Self::Tcp4Cpu => ("tcp4_cpu", "CPU, 4 streams", "s/GB"),
            Self::Flood => ("udp_flood", "UDP flood", "kpps"),
            Self::FloodCpu => ("udp_flood_cpu", "CPU, UDP flood", "s/Mpkt"),
            Self::Lossless => ("udp_lossless", "UDP, loss <= 0.5 %", "kpps"),
            Self::Connects => ("connects", "connects", "k/s"),
            Self::RttP50 => ("rtt_p50", "RTT p50", "µs"),
            Self::RttP99 => ("rtt_p99", "RTT p99", "µs"),
            Self::Rest => ("rest", "CPU at rest", "cores"),
            Self::FairTcp => ("fair_tcp", "TCP beside flood", "Gbit/s"),
            Self::FairP50 => ("fair_rtt_p50", "RTT p50 beside flood", "µs"),
            Self::FairP99 => ("fair_rtt_p99", "RTT p99 beside flood", "µs"),
            Self::FairFlood => ("fair_flood", "the flood itself", "kpps"),
        }
    }

    /// Its name in JSON.
    pub const fn key(self) -> &'static str {
        self.names().0
    }

    /// Its heading.
    pub const fn title(self) -> &'static str {
        self.names().1
    }

    /// Its unit.
    pub const fn unit(self) -> &'static str {
        self.names().2
    }

    /// True if less is better.
    pub const fn is_cost(self) -> bool {
        matches!(
            self,
            Self::Tcp1Cpu
                | Self::Tcp4Cpu
                | Self::FloodCpu
                | Self::RttP50
                | Self::RttP99
                | Self::Rest
                | Self::FairP50
                | Self::FairP99
        )
    }
}
