//! TODO.
use super::Peer;
use crate::error::Result;
use crate::figure::Scenario;
use crate::testbed::Testbed;
pub struct Pasta;
impl Peer for Pasta {
    fn name(&self) -> &str {
        "pasta"
    }
    fn about(&self) -> String {
        String::new()
    }
    fn version(&self) -> std::result::Result<String, String> {
        Err("not yet".into())
    }
    fn refuses(&self, _: Scenario) -> Option<&'static str> {
        None
    }
    fn start(&self, _: Scenario) -> Result<Testbed> {
        unreachable!()
    }
}
