//! Why a frame ended. Every frame that tapway does not pass on is counted under one of these.
//!
//! The set is flat on purpose: a user looks a name up once and reads when it happens and what to
//! do. The names are those of `tapway show drops` and of the drop comments in a capture.

use std::fmt;

macro_rules! drop_reasons {
    ($($variant:ident $name:literal $when:literal $remedy:literal)*) => {
        /// The reason a frame was not passed on.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum DropReason {
            $(#[doc = $when] $variant,)*
        }

        impl DropReason {
            /// Every reason, in the order of its counter.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name users see.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// When it happens.
            pub const fn when(self) -> &'static str {
                match self { $(Self::$variant => $when,)* }
            }

            /// What to do about it.
            pub const fn remedy(self) -> &'static str {
                match self { $(Self::$variant => $remedy,)* }
            }
        }
    };
}

drop_reasons! {
    // -- Ethernet and switching -------------------------------------------------------------
    UnknownPort "unknown_port"
        "The frame came in by a port that is not, or no longer, configured."
        "Add the port to the configuration."
    PortDown "port_down"
        "The port was down when the frame came in or was to leave."
        "`tapway show link` tells why; at start, frames sent before the port was up are ordinary."
    FrameTooShort "frame_too_short"
        "The frame is shorter than an Ethernet header (14 bytes, 18 with a VLAN tag)."
        "The sender is broken; capture with `tapway capture --port`."
    VnetHeader "vnet_header"
        "The sender's kernel announced a checksum or a segmentation that disagrees with the frame."
        "The sender forges virtio-net headers, or its driver is broken: set `offload = false` on the port."
    Oversize "oversize"
        "The frame is larger than the MTU of the port it was to leave by."
        "Give both ports the same `mtu`."
    GroupSource "group_source"
        "The source MAC is a group address or zero, which no station may use (IEEE 802.3)."
        "The sender is broken."
    OwnMacAsSource "own_mac_as_source"
        "The source MAC is the gateway's own: a loop, or somebody forges it."
        "Look for a second path between two ports."
    GuardMac "guard_mac"
        "The port has a configured address and the frame came from another MAC."
        "Correct the host's MAC, or set `guard = false` on the port."
    GuardIp "guard_ip"
        "The port has a configured address and the packet came from another IP address."
        "Correct the host's address, or set `guard = false` on the port."
    GuardArp "guard_arp"
        "The port has a configured address and the ARP message claims another sender."
        "Correct the host's address, or set `guard = false` on the port."
    GuardTags "guard_tags"
        "The port has a configured address and the frame has more VLAN tags than are looked through, or a packet behind an LLC header."
        "Send it with two tags at most and an EtherType, or set `guard = false` on the port."
    GuardDhcp "guard_dhcp"
        "The port has a configured address, its network `dhcp = true`, and its host answers as a DHCP server."
        "Stop the DHCP server of that host, or set `guard = false` on the port."
    GuardRa "guard_ra"
        "The port has a configured address, its network `dhcp = true`, and its host says by IPv6 that it is a router, or hides what it says behind extension headers."
        "Stop the router advertisements of that host, or set `guard = false` on the port."
    StaticMacMoved "static_mac_moved"
        "A source MAC that is bound to another port by the configuration."
        "Two hosts use one MAC, or one is behind another peer than its endpoint says; correct that."
    ReservedGroup "reserved_group"
        "Destination in 01-80-C2-00-00-00..0F, which a bridge must not relay (IEEE 802.1D 7.12.6)."
        "Set `forward_reserved = true` on the network if a lab needs LLDP, LACP or STP."
    SamePort "same_port"
        "The destination is behind the port the frame came from."
        "Nothing to do: the hosts behind that port reach each other without tapway."
    Isolated "isolated"
        "Both ports are isolated (`icc = false`)."
        "Set `icc = true` on the network, or publish the port."
    NoOtherPort "no_other_port"
        "A frame to flood, or to an unknown MAC, and no other port was there to take it."
        "Ordinary: multicast and broadcast on a port that is alone in its network, as an uplink is."
    StormLimit "storm_limit"
        "More flooded frames per second than the port's storm limit."
        "Find the loop or the flooding host; raise `storm_limit` of the network."
    LimitRx "limit_rx"
        "The host sent more than the port's `limit_rx`."
        "Ordinary for TCP, which slows down; raise `limit_rx` of the port, or its `limit_burst`."
    LimitTx "limit_tx"
        "More was to be sent to the host than the port's `limit_tx`."
        "Ordinary for TCP, which slows down; raise `limit_tx` of the port, or its `limit_burst`."
    EgressQueueFull "egress_queue_full"
        "The burst produced more generated frames than one pass may (a bound on amplification)."
        "Nothing to do: the sender will retry."

    // -- Reaching the gateway ---------------------------------------------------------------
    VlanNotRouted "vlan_not_routed"
        "A VLAN-tagged frame for the gateway's MAC. Tags are bridged, not routed."
        "Untag the traffic before the router."
    Ipv6NotRouted "ipv6_not_routed"
        "IPv6 for the gateway's MAC. IPv6 is bridged, not routed."
        "Use IPv4 beyond the own network."
    EtherTypeNotRouted "ethertype_not_routed"
        "A frame for the gateway's MAC that is neither IPv4 nor ARP."
        "Nothing to do."
    NoGateway "no_gateway"
        "To a published host whose network has no gateway, so it switches only."
        "Give the network a `subnet` and a `gateway`."
    ArpMalformed "arp_malformed"
        "An ARP message with wrong types, lengths, or a group or zero sender (RFC 826)."
        "The sender is broken."
    ArpNotForUs "arp_not_for_us"
        "An ARP message sent to the gateway's MAC that asks for another address."
        "Nothing to do."
    ArpUnsolicited "arp_unsolicited"
        "An ARP reply nobody asked for, from a sender that is not in the neighbour table."
        "Nothing to do: an unsolicited reply makes no entry."
    HostsOwn "hosts_own"
        "A copy of what this host itself takes: the uplink shares its address (`kind = \"shared\"`)."
        "Nothing to do: the host has it."
    DuplicateAddress "duplicate_address"
        "Somebody else claims an address of tapway by ARP."
        "Change the address of that host."

    // -- IPv4 validity ----------------------------------------------------------------------
    Ipv4Truncated "ipv4_truncated"
        "The IPv4 header or the total length does not fit the frame (RFC 1812 5.2.2)."
        "The sender is broken."
    Ipv4Version "ipv4_version"
        "EtherType IPv4, but the version field is not 4 (RFC 1812 5.2.2)."
        "The sender is broken."
    Ipv4HeaderLength "ipv4_header_length"
        "The IPv4 header length is below 5 words or above the total length (RFC 1812 5.2.2)."
        "The sender is broken."
    Ipv4Checksum "ipv4_checksum"
        "The IPv4 header checksum is wrong (RFC 1812 5.2.2)."
        "The sender, or something on the way, damages packets."
    Ipv4SourceRoute "ipv4_source_route"
        "The packet carries a source-route option."
        "Nothing to do: source routing is refused."
    TransportTruncated "transport_truncated"
        "The TCP, UDP or ICMP header does not fit the packet."
        "The sender is broken."
    MartianSource "martian_source"
        "Source address in 0/8, 127/8, 224/3 or the broadcast address (RFC 1812 5.3.7)."
        "The sender is broken, or asks by DHCP on a network without `dhcp = true`."
    MartianDestination "martian_destination"
        "Destination address in 0/8, 127/8 or 240/4 (RFC 1812 5.3.7)."
        "The sender is broken."
    MulticastNotRouted "multicast_not_routed"
        "An IP multicast for the gateway. Multicast is bridged, not routed."
        "Nothing to do."
    BroadcastNotRouted "broadcast_not_routed"
        "A directed or limited IP broadcast for the router (RFC 2644)."
        "Nothing to do."
    OwnAddressAsSource "own_address_as_source"
        "The source address is one of tapway's own."
        "Somebody forges it, or an address is used twice."
    ReversePath "reverse_path"
        "The route back to the source leads to another network: the source is forged or misplaced."
        "Give the host an address of its network, or add a route for its subnet."

    // -- Routing and policy -----------------------------------------------------------------
    TtlExceeded "ttl_exceeded"
        "The TTL ran out here; ICMP time exceeded was sent if the rate allows (RFC 1812 5.3.1)."
        "Ordinary for traceroute; else look for a routing loop."
    NoRoute "no_route"
        "No route to the destination; ICMP network unreachable was sent if the rate allows."
        "Set `gateway` in `[uplink]`, or add a `[[route]]`."
    FragmentationNeeded "fragmentation_needed"
        "Larger than the next link's MTU, with DF set; ICMP 3/4 was sent (RFC 1191)."
        "Ordinary for path MTU discovery."
    InternalNetwork "internal_network"
        "The packet was to leave or to enter a network that is `internal`."
        "Ordinary. Set `internal = false` on the network if its hosts are to have a way out."
    NetworkIsolated "network_isolated"
        "From one network to another: networks are isolated from each other."
        "Publish the port, or put both hosts on one network."
    DirectRouting "direct_routing"
        "From outside straight to an inside address, unpublished."
        "Publish the port, or set the network's `nat = \"none\"`."
    NoTransit "no_transit"
        "From outside to outside."
        "Correct the sender's route."
    HostUnreachable "host_unreachable"
        "The next hop did not answer ARP; ICMP host unreachable was sent if the rate allows."
        "Start the host, or correct the address; see `tapway show neigh`."
    HoldQueueFull "hold_queue_full"
        "More packets wait for one neighbour than may (the oldest is dropped)."
        "Nothing to do: the sender will retry."
    NeighbourTableFull "neighbour_table_full"
        "Too many unresolved neighbours asked for by one port, or none left to replace."
        "Find the host that scans the subnet."

    // -- To tapway itself -------------------------------------------------------------------
    LocalPortClosed "local_port_closed"
        "From inside to a port of the gateway where nothing listens; refused by RST or ICMP 3/3."
        "Publish the port if a host should answer it."
    LocalProtocol "local_protocol"
        "To tapway itself by a protocol or ICMP type it does not serve."
        "Nothing to do."
    DhcpMalformed "dhcp_malformed"
        "A DHCP message that cannot be read: cut off, not of a client, or its checksum wrong (RFC 2131)."
        "The sender is broken or hostile; capture with `tapway capture --port`."
    DhcpRelayed "dhcp_relayed"
        "A DHCP message that a relay agent passed on: only the own network is served."
        "Serve that network by a DHCP server of its own."
    DhcpLimit "dhcp_limit"
        "More DHCP messages per second than one port may send, or than control can take."
        "Find the host that repeats its requests, or asks in many names."
    DnsMalformed "dns_malformed"
        "A DNS message to the gateway that is no query, or whose UDP checksum is wrong; silence."
        "The sender is broken or hostile; capture with `tapway capture --port`."
    DnsLimit "dns_limit"
        "More questions about foreign names per second than the hosts behind one port, or all, may ask the gateway."
        "Find the host that asks; a cache of its own would spare it."
    DnsConnections "dns_connections"
        "The hosts behind the port have as many DNS connections to the gateway as they may."
        "Nothing to do: the host will retry, or use UDP."
    UnsolicitedSyn "unsolicited_syn"
        "A TCP SYN from outside to a port that is not published; silence (RFC 5382 REQ-4)."
        "Publish the port: `publish = [\"80:80/tcp\"]`."
    NoSession "no_session"
        "To tapway's address, or an ICMP reply to be translated, and no session or published port."
        "Publish the port; else none: the session ended, or it was never ours."
    Filtered "filtered"
        "To an existing mapping from a peer that its filtering mode does not admit (RFC 4787 5)."
        "Choose `nat = \"eim-eif\"` or `\"eim-adf\"` for the network."

    // -- NAPT -------------------------------------------------------------------------------
    SessionTableFull "session_table_full"
        "No free session and none that may be recycled; ICMP 3/13 was sent."
        "Raise `sessions` in `[limits]`, or find the host that holds them."
    HostSessionQuota "host_session_quota"
        "The inside host holds as many sessions as one host may; ICMP 3/13 was sent."
        "Raise `sessions_per_host` in `[limits]`."
    PortsExhausted "ports_exhausted"
        "No free external port for this host's external address; ICMP 3/13 was sent."
        "Add `nat_addresses` to the uplink."
    HostPortQuota "host_port_quota"
        "The inside host holds as many external ports as one host may; ICMP 3/13 was sent."
        "Raise `ports_per_host` in `[limits]`."
    ProtocolConflict "protocol_conflict"
        "Two inside hosts use one portless protocol towards the same peer."
        "Give one of them a static address (`static_nat`)."
    SharedProtocol "shared_protocol"
        "Neither TCP, UDP nor ICMP, by an uplink that shares this host's address: the answer could not be told from the host's own."
        "Use an uplink with an address of its own (`kind = \"device\"`)."
    NoExternalAddress "no_external_address"
        "The packet needs translation and the uplink has no address."
        "Give the `[uplink]` an `address`."
    IcmpErrorMalformed "icmp_error_malformed"
        "An ICMP error with a wrong checksum, or a quote that is cut, damaged or foreign (RFC 5508)."
        "Nothing to do."
    IcmpErrorUnmatched "icmp_error_unmatched"
        "An ICMP error from outside about a packet of no session (RFC 5508 REQ-4)."
        "Nothing to do."

    // -- Fragments --------------------------------------------------------------------------
    FragmentTooSmall "fragment_too_small"
        "A first fragment without a whole transport header, or one that overlaps it (RFC 1858)."
        "The sender is broken or hostile."
    FragmentOverlap "fragment_overlap"
        "Fragments of a datagram for tapway itself overlap or exceed 65 535 bytes."
        "The sender is broken or hostile."
    FragmentTimeout "fragment_timeout"
        "The rest of the datagram did not arrive in time."
        "Look for loss on the way."
    FragmentTableFull "fragment_table_full"
        "This source has as many datagrams or fragments waiting as it may."
        "Find the host that sends orphan fragments."

    // -- VXLAN ------------------------------------------------------------------------------
    VxlanHeader "vxlan_header"
        "A datagram for tapway's VXLAN port that is cut, or whose header has no network number (RFC 7348 5)."
        "The sender is broken, or it is no VXLAN: look at who sends to the port."
    VxlanUnknownVni "vxlan_unknown_vni"
        "A peer sent a frame of a VXLAN network that tapway does not have."
        "Give the network the same `vni` on all hosts."
    VxlanForeignPeer "vxlan_foreign_peer"
        "A VXLAN frame came from an address that is no peer of its network."
        "Add it to the network's `peers`, or set `accept = \"any\"`; a capture shows who it is."
    VxlanTagged "vxlan_tagged"
        "A frame with a VLAN tag was to enter or leave a tunnel (RFC 7348 6.1)."
        "Set `vlan_tags = true` in the network's `vxlan` to carry tags."
    VxlanEcn "vxlan_ecn"
        "The way between the hosts was congested, and the packet inside cannot be told so (RFC 6040 4.2)."
        "Ordinary under load, instead of a mark; the sender repeats what it needs."
    VxlanSplitHorizon "vxlan_split_horizon"
        "A frame from a tunnel was for a station behind another tunnel of its network: all hosts are connected to all."
        "List every host as a peer at every other."
    VxlanFromInside "vxlan_from_inside"
        "A host behind tapway sent a datagram to the VXLAN port of a peer, which would take it for one of tapway's own and its frame for one of the network."
        "Hosts reach the network over their own port; look at what this one tries."
    VxlanNoWay "vxlan_no_way"
        "A frame was to leave by a tunnel, and the underlay is not there: no socket, no route, or the peer is nobody's neighbour."
        "`tapway show vxlan` and `tapway show peers` tell the state of the underlay."

    // -- Between workers (counted by io) ------------------------------------------------------
    HandOverQueueFull "hand_over_queue_full"
        "The worker that the packet belongs to has as many frames waiting from others as it may."
        "One inside host, or one worker, is overloaded: see `tapway show stats`."

    // -- Ports and devices (counted by io) --------------------------------------------------
    TxQueueFull "tx_queue_full"
        "The device would not take the frame now (EAGAIN, ENOBUFS)."
        "The receiver is too slow."
    TxError "tx_error"
        "The device refused the frame (EIO while it is down, EINVAL, EMSGSIZE ...)."
        "`tapway show link` tells the last error."
    TxDeviceGone "tx_device_gone"
        "The device vanished; tapway takes the port down and opens it again."
        "Bring the namespace or the interface back."
    DeviceTxDropped "device_tx_dropped"
        "The kernel dropped frames on their way from a host to tapway (queue of the TAP full)."
        "Give tapway more CPU, or raise the queue: `ip link set eth0 txqueuelen 10000` at the host."
    DeviceRxDropped "device_rx_dropped"
        "The kernel dropped frames that tapway wrote to the device: nobody there takes their kind, or its backlog was full."
        "Ordinary for protocols the host does not speak (LLDP ...); else raise net.core.netdev_max_backlog in its namespace."
    RingOverrun "ring_overrun"
        "The kernel dropped frames of an uplink device, or datagrams of VXLAN, because the socket's buffer was full."
        "Give tapway more CPU, or raise `receive_buffer` of the uplink or of VXLAN."
    ReadTruncated "read_truncated"
        "The frame was larger than the receive buffer."
        "Lower the MTU of the device."
}

impl DropReason {
    /// How many reasons there are: the length of a counter array.
    pub const COUNT: usize = Self::ALL.len();

    /// The position of its counter.
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The reason of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|reason| reason.name() == name)
    }
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_found_again() {
        for (index, reason) in DropReason::ALL.iter().enumerate() {
            assert_eq!(reason.index(), index);
            assert_eq!(DropReason::from_name(reason.name()), Some(*reason));
        }
    }
}
