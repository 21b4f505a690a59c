//! A network that stretches over two Docker hosts by VXLAN.

use super::super::DemoError;
use super::super::host::FULL_TTL;
use super::super::stage::Stage;
use super::super::topology::{HostName, SECOND, Switch};
use super::super::transcript::Finding;
use super::{Script, station};
use crate::control::render;
use crate::packet::MacAddr;

impl<S: Stage> Script<'_, '_, S> {
    pub(super) fn ping_across(&mut self) -> Result<(), DemoError> {
        let (from, dst) = (HostName::Web3, HostName::Web1.address());
        self.transcript.typed(from.name(), format!("ping -c 1 {dst}"));
        let pong = self.stage.host(from)?.ping(dst, FULL_TTL)?;
        let why = "one network: the TTL is whole, though a LAN with other addresses is between";
        self.mark_ping(pong, None, (station(dst, None), FULL_TTL), why);
        self.transcript.typed(Switch::Tapway.name(), "tapway show fdb | grep dns");
        let mut rows = self.stage.read(Switch::Tapway, |engine, now| engine.fdb_rows(now))?;
        rows.retain(|row| row.network == "dns");
        let table = render::fdb(&rows);
        let lines: Vec<&str> = table.lines().filter(|line| line.contains("dns")).collect();
        self.transcript.printed(&lines.join("\n"));
        let mac = MacAddr::from_ipv4(from.address());
        let place = rows.iter().find(|row| row.mac == mac).and_then(|row| row.port.clone());
        let tunnel = format!("dns@{SECOND}");
        let why = "its MAC is behind the tunnel to the second host";
        let found = Finding::equal(&tunnel, &place.unwrap_or_default(), why);
        self.transcript.mark(&found);
        Ok(())
    }

    pub(super) fn ping_back_by_name(&mut self) -> Result<(), DemoError> {
        let why = "an endpoint: the first host was told who is at the second";
        self.check_ping_by_name(HostName::Web1, (HostName::Web3, "web3"), "web3.dns", why)
    }
}
